package activity

import "garment.id/homecore/platform/fault"

// What this module refuses, beside what packages fault and api declare.
var ipInvalid = fault.ValidationFailed.WithField("filter[ip]", "Isi alamat IP atau jaringan seperti 10.0.0.0/8.", "Give an IP address, or a network such as 10.0.0.0/8.")
