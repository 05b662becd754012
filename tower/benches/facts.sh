# Says who the bench user is, then becomes "$@", if there is any, as that user would run it.
# POSIX, for dash, bash and busybox, and with nothing but the shell's own commands where that is possible.
# tower_wait: seconds that the login shell may take.  HOME: used where there is no passwd entry.
t_wait=${tower_wait:-5} t_home=${HOME:-/}
unset tower_wait
t_path=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
PATH=$t_path

t_uid=0 t_gid=0
while read -r t_key t_real t_rest; do
    case $t_key in Uid:) t_uid=$t_real ;; Gid:) t_gid=$t_real ;; esac
done </proc/self/status

t_user= t_shell=
t_passwd() {
    while IFS=: read -r t_name t_x t_u t_g t_gecos t_h t_s; do
        [ "$t_u" = "$t_uid" ] || continue
        t_user=$t_name t_home=${t_h:-/} t_shell=$t_s
        return 0
    done
    return 1
}
[ -r /etc/passwd ] && t_passwd </etc/passwd
if [ -z "$t_user" ] && command -v getent >/dev/null 2>&1; then
    t_entry=$(getent passwd "$t_uid" 2>/dev/null) && t_passwd <<END
$t_entry
END
fi
[ -n "$t_user" ] || t_user=$t_uid
case $t_shell in
    /*nologin | /*false) t_shell= ;;
    /*) [ -x "$t_shell" ] || t_shell= ;;
    *) t_shell= ;;
esac
if [ -z "$t_shell" ]; then
    t_shell=/bin/sh
    [ -x /bin/bash ] && t_shell=/bin/bash
fi

t_locale=C.UTF-8
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
    *.[Uu][Tt][Ff]-8* | *.[Uu][Tt][Ff]8*) t_locale=${LC_ALL:-${LC_CTYPE:-${LANG:-}}} ;;
    *) if command -v locale >/dev/null 2>&1; then
        t_known=$(locale -a 2>/dev/null)
        case $t_known in
            *C.UTF-8* | '') ;;
            *C.utf8*) t_locale=C.utf8 ;;
            *en_US.utf8* | *en_US.UTF-8*) t_locale=en_US.UTF-8 ;;
        esac
    fi ;;
esac

HOME=$t_home USER=$t_user LOGNAME=$t_user SHELL=$t_shell TERM=xterm-256color LANG=$t_locale
[ -z "${LC_ALL:-}" ] || LC_ALL=$t_locale
[ -z "${LC_CTYPE:-}" ] || LC_CTYPE=$t_locale
export HOME USER LOGNAME SHELL TERM LANG PATH

# The login shell may greet, hang, or leave children that hold its output: its PATH stands between two
# marks, the reader goes away at the second, and a watch ends it: with a hangup first, for what it runs may hold a lock
# that it lets go then (pyenv does). Standard input stays the command's.
t_marked() {
    t_group=
    command -v setsid >/dev/null 2>&1 && t_group=setsid
    $t_group "$SHELL" -l -i -c 'exec /bin/sh -c '\''printf "\n%s%s%s\n" "tower-path=" "$PATH" "=tower-path"'\' &
    t_login=$!
    (
        trap 'kill $t_nap; wait $t_nap; exit' TERM
        sleep "$t_wait" & t_nap=$!
        wait $t_nap
        for t_signal in HUP KILL; do
            [ -n "$t_group" ] && kill -$t_signal -- -$t_login
            kill -$t_signal $t_login
            sleep 0.2 || sleep 1
        done
    ) &
    t_watch=$!
    wait $t_login
    kill $t_watch
    wait $t_watch
    printf '\n%s\n' =tower-end=
}
t_found=$(
    t_marked </dev/null 2>/dev/null | while IFS= read -r t_line; do
        case $t_line in
            tower-path=/*=tower-path) t_line=${t_line#tower-path=} && printf %s "${t_line%=tower-path}" && break ;;
            =tower-end=) break ;;
        esac
    done
)
PATH=${t_found:-$t_path}

t_tmux=$(command -v tmux 2>/dev/null)
case $t_tmux in /*) ;; *)
    t_tmux=
    for t_dir in /usr/local/bin /usr/bin /bin "$HOME/.local/bin" "$HOME/bin" /opt/bin /opt/*/bin /usr/pkg/bin \
        /home/linuxbrew/.linuxbrew/bin "$HOME/.nix-profile/bin" /nix/var/nix/profiles/default/bin /snap/bin; do
        [ -z "$t_tmux" ] && [ -f "$t_dir/tmux" ] && [ -x "$t_dir/tmux" ] && t_tmux=$t_dir/tmux
    done
    ;;
esac

printf '%s\n' "user=$t_user" "uid=$t_uid" "gid=$t_gid" "home=$HOME" "shell=$SHELL" "path=$PATH" "locale=$t_locale" \
    "tmux=$t_tmux" tower-facts-end
[ $# -gt 0 ] || exit 0
[ -n "$t_tmux" ] || exit 127
if [ "$1" = tmux ]; then
    shift
    set -- "$t_tmux" "$@"
fi
exec "$@"
