// Package transfer takes one tenant out of the crowd: into a file (Export), back to the state in a file (Restore), to another
// cluster (Move). Nobody else notices, and the tenant itself only where that is said.
//
// # Archives
//
// An archive is a tar, compressed with zstd: "tar --zstd -x" opens it anywhere. Each table is in parts of a megabyte, in COPY's text
// format and the order of its primary key; the manifest comes last, with the columns, rows and SHA-256 of every table, the
// sequences, the migration that all this is of and who the members were. It is written under a name of its own, and gets the one
// that was asked for once it is on the disk. Memory does not grow with the tenant. A file is verified from its first byte to its
// last before anything is done with it; that it was written by whom it says is for the one who keeps it to know.
//
// # Restore and move are one thing
//
// Rows are brought into a shadow: a schema with a role of its own, that nobody can enter. Then the registry is pointed to it, which
// is the one moment that counts, and the schema the tenant had is kept, retired and shut, until Accept. A restore reads a file and
// lets the tenant work on; what is written meanwhile stays in the retired schema, to which Undo returns. A move reads the tenant's
// own rows, which must not change meanwhile:
//
//	prepare   the shadow, at the same migration                                 the tenant works
//	shut      status maintenance; the gate is shut, every entry is refused      503 with Retry-After, until the flip
//	drain     transactions that have entered end, for a while
//	lock      ACCESS EXCLUSIVE on all tables, in small bites of waiting         gives up after half a minute
//	copy      from the locked transaction into one of the new cluster
//	freeze    the old role's rights on its tables go, and that is committed     what was too slow fails with 42501
//	flip      the new schema is opened; the registry points to it               the tenant works there
//	retire    the old schema's row says so
//
// # Crashes
//
// A row of central.transfers is written before anything else and goes through the phases running, flipped, done; or running, back,
// gone. What the registry says is what counts. A crash while the row is
//
//	running   nothing was ever written to the shadow but by us, whatever its cluster says of it: settle drops it, gives the
//	          old schema its rights and its gate, and the tenant its status back. This is so after each step from prepare to
//	          the flip. After the freeze nobody can write anywhere until then: refused, not lost.
//	flipped   the registry points to the new schema, and the old one was frozen before: settle retires it.
//	done      there is nothing to do. The row stays until Accept, and is what Undo and Accept go by.
//
// The flip locks the tenant's row and the work's before it changes the cluster, and commits after it. It fails if the work is not
// running any more, and settle says "back" before it undoes anything: somebody who was given up for dead, and was not, flips
// nothing. An operator who suspends the tenant meanwhile waits for the flip, or the flip sees it.
//
// Heal settles what nobody works on; a process that ends releases the tenant with its connection. Whoever begins something new on
// the tenant settles what is left first.
package transfer
