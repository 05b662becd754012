"""A tmux server that lives and cannot be reached: its panes live, and nobody finds them.

A cleaner of /tmp may have taken its socket file away. SIGUSR1 makes such a server bind its socket again (tmux(1)). It
is found by the kernel's own list of sockets, which keeps the path that a socket was bound to, and by the process that
holds that very socket. Where it does not, as it stands still or another server has the socket's path by now, its
process tells that it lives.
"""

from typing import Final

RESTORE: Final = """\
name=$1 base=
for top in "${TMUX_TMPDIR-}" /tmp; do
  [ -n "$top" ] && base=$(cd -P -- "$top" 2>/dev/null && pwd -P) && [ -n "$base" ] && break
done
while read -r key uid rest; do
  [ "$key" != Uid: ] || break
done </proc/self/status
folder=$base/tmux-$uid socket=$base/tmux-$uid/$name

inodes=
while read -r num refs protocol flags type state inode path; do
  [ "$flags" = 00010000 ] && [ "$path" = "$socket" ] && inodes="$inodes $inode"
done </proc/net/unix
[ -n "$inodes" ] || exit 1

server=
for process in /proc/[0-9]*; do
  [ -O "$process" ] || continue
  for inode in $inodes; do
    case $(ls -l "$process/fd" 2>/dev/null) in
      *"socket:[$inode]"*) server="$server ${process#/proc/}" ;;
    esac
  done
done
set -- $server
[ $# -eq 1 ] || exit 1

[ -d "$folder" ] || mkdir -m 700 -- "$folder" || exit 1
rm -f -- "$socket"
kill -USR1 "$1" || exit 1
for turn in 1 2 3 4 5 6 7 8 9 10; do
  [ ! -S "$socket" ] || exit 0
  sleep 0.1 2>/dev/null || sleep 1
done
exit 1
"""
"""Exits 0 when a server of this user listens at the socket named $1 again; 1 when there is nothing to restore.

To be run where nobody answers there: a file at the path is what another server has left.
"""

LIVING: Final = """\
start_ticks() {
  case $1 in Z | X) ;; *) echo "${20}" ;; esac
}
booted=
while read -r key value rest; do
  [ "$key" != btime ] || booted=$value
done </proc/stat
for server in "$@"; do
  stat=$(cat "/proc/${server%%:*}/stat" 2>/dev/null) || continue
  case $stat in *"(tmux"*) ticks=$(start_ticks ${stat##*) }) ;; *) continue ;; esac
  [ -n "$ticks" ] || continue
  early=$((booted + ticks / 100 - ${server#*:}))
  [ "$early" -lt -5 ] || [ "$early" -gt 5 ] || echo "$server"
done
"""
"""Prints those of the servers `PID:START` that live: a tmux process of that pid that began at that Unix second or so.

One that nobody has waited for lives no more: the first process of a container often waits for nobody. The kernel
counts a process's start in hundredths of a second since the boot (proc(5), starttime and btime).
"""
