package exceptions

//homecore:allow ginescape a reason
func fine() {}

/* want "homecore:allow tenantset gives no reason" */ //homecore:allow tenantset
/* want "homecore:allow names no rule" */ //homecore:allow tenantsets a reason
/* want "homecore:allow names no rule" */ //homecore:allow
func lacking()                            {}
