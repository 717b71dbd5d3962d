package schema

const fromOutside = "select 1 from central.users"
