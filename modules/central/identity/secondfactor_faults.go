package identity

import "garment.id/homecore/platform/fault"

// What second factors are refused with.
var (
	// twoFactorInvalid is every failure of a challenge: a wrong code, one used before, a challenge that is over, used up or none.
	twoFactorInvalid = fault.New(fault.Unauthenticated, "auth.two_factor_invalid", "Kode tidak berlaku. Coba kode berikutnya, atau masuk kembali.", "The code is not valid. Try the next one, or sign in again.")
	// enrolmentInvalid is the same to a client. Who sets an app up is signed in.
	enrolmentInvalid       = fault.New(fault.Unauthenticated, twoFactorInvalid.Code(), "Kode salah. Masukkan kode yang kini ditampilkan aplikasi Anda.", "The code is not right. Enter the one that your app shows now.")
	twoFactorSetupRequired = fault.New(fault.Forbidden, "auth.two_factor_setup_required", "Aktifkan verifikasi dua langkah terlebih dahulu.", "Please set up two-factor authentication first.")
	twoFactorRequired      = fault.New(fault.Forbidden, "auth.two_factor_required", "Masuk kembali dengan verifikasi dua langkah.", "Please sign in again with your second factor.")
	twoFactorOff           = fault.New(fault.Conflict, "auth.two_factor_off", "Verifikasi dua langkah belum aktif.", "Two-factor authentication is not turned on.")
	twoFactorMandatory     = fault.New(fault.Conflict, "auth.two_factor_mandatory", "Peran atau ruang kerja Anda mewajibkan verifikasi dua langkah.", "Your role or a workspace of yours requires two-factor authentication.")
	twoFactorNotStarted    = fault.New(fault.Conflict, "auth.two_factor_not_started", "Mulai kembali pengaturan verifikasi dua langkah.", "Please start setting up two-factor authentication again.")
	passkeyInvalid         = fault.New(fault.Unauthenticated, "auth.passkey_invalid", "Passkey tidak diterima.", "The passkey was not accepted.")
	passkeyRefused         = fault.New(fault.Invalid, "auth.passkey_refused", "Passkey tidak dapat didaftarkan.", "The passkey cannot be registered.")
	passkeyKnown           = fault.New(fault.Conflict, "auth.passkey_known", "Passkey ini sudah terdaftar.", "This passkey is registered already.")
	passkeysTooMany        = fault.New(fault.Conflict, "auth.passkeys_too_many", "Hapus salah satu passkey terlebih dahulu.", "Please remove one of your passkeys first.")
	passkeysUnavailable    = fault.New(fault.Conflict, "auth.passkeys_unavailable", "Passkey tidak tersedia pada alamat ini.", "Passkeys are not available at this address.")
)

// factorMissing says that the request lacks a second factor, or has more than one.
var factorMissing = fault.ValidationFailed.WithField("code", "Sertakan salah satu: code, recovery_code atau passkey.", "Give one of code, recovery_code and passkey.")
