# guard SIGNAL FOLDER FOLDER COMMAND… — becomes COMMAND. When descriptor 3 closes without a line having been read from it,
# stops it with SIGNAL (and if need be harder) and removes the folders. The watcher is a grandchild, so that it is no child
# of the server, which looks after its own.
signal=$1 one=$2 two=$3
shift 3
( (
	read -r _ <&3 && exit
	kill -s "$signal" $$ 2>/dev/null
	n=0
	# One that has ended but that nobody has collected yet is still to be signalled, and has no folder it works in.
	while kill -0 $$ 2>/dev/null && { [ -e /proc/$$/cwd ] || [ ! -e /proc/$$ ]; } && [ $n -lt 300 ]; do
		n=$((n + 1))
		[ $n -eq 200 ] && kill -s QUIT $$
		[ $n -eq 270 ] && kill -s KILL $$
		sleep 0.1 2>/dev/null || sleep 1
	done
	rm -rf -- "$one" "$two"
) & )
exec 3<&-
exec "$@"
