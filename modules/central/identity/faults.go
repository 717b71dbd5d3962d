package identity

import "garment.id/homecore/platform/fault"

// What this module refuses, beside what packages fault and api declare.
var (
	tokenExpired       = fault.New(fault.Unauthenticated, "auth.token_expired", "Sesi perlu diperbarui.", "The access token has expired.")
	invalidCredentials = fault.New(fault.Unauthenticated, "auth.invalid_credentials", "Email atau kata sandi salah.", "The e-mail or the password is wrong.")
	// passwordWrong is of who is signed in, and gave no e-mail: the same to a client, another text for people.
	passwordWrong     = fault.New(fault.Unauthenticated, invalidCredentials.Code(), "Kata sandi salah.", "The password is not right.")
	refreshInvalid    = fault.New(fault.Unauthenticated, "auth.refresh_invalid", "Sesi telah berakhir. Silakan masuk kembali.", "The session has ended. Please sign in again.")
	refreshReused     = fault.New(fault.Unauthenticated, "auth.refresh_reused", "Sesi diakhiri demi keamanan. Silakan masuk kembali.", "The session was ended for safety. Please sign in again.")
	linkInvalid       = fault.New(fault.Invalid, "auth.link_invalid", "Tautan tidak berlaku atau sudah kedaluwarsa. Minta tautan baru.", "The link is not valid or has expired. Ask for a new one.")
	emailUnverified   = fault.New(fault.Forbidden, "auth.email_unverified", "Verifikasi alamat email Anda terlebih dahulu.", "Please verify your e-mail address first.")
	accountUnknown    = fault.New(fault.NotFound, "auth.account_unknown", "Tidak ada akun dengan email itu.", "There is no account with that e-mail.")
	operatorProtected = fault.New(fault.Forbidden, "users.protected", "Akun ini milik operator platform, atau milik Anda sendiri.", "The account is a platform operator's, or your own.")
	accountDisabled   = fault.New(fault.Conflict, "users.disabled", "Akun ini dinonaktifkan.", "The account is disabled.")
	roleUnknown       = fault.New(fault.Invalid, "auth.role_unknown", "Peran tidak dikenal.", "There is no such role.")
	stepUpRequired    = fault.New(fault.Forbidden, "auth.step_up_required", "Konfirmasi dahulu bahwa ini Anda.", "Please confirm first that it is you.")
)
