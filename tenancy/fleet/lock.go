package fleet

// SchemaLock is the key, in SQL, of the advisory lock of the schema whose name is $1. Who works on a schema by more than one
// transaction (an index built concurrently, for one) holds it meanwhile, on a connection of the owner;
// migrations leave such a schema alone. Shorter work locks the row of tenancy.schemas, which keeps migrations away as well.
const SchemaLock = "hashtextextended('homecore schema ' || $1, 0)"
