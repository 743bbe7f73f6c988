# bash completion for reloadctl, made from the table in reloadctl/declare.py by reloadctl/shells; do not edit.

_reloadctl_ask() {
    "${COMP_WORDS[0]}" "${connect[@]}" completion "$1" 2>/dev/null
}

_reloadctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb="" word words="" i n=0
    local -a connect=()
    # "--color=auto" arrives as three words.
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case "$verb $word" in
            *" --socket" | *" --color" | "reload --timeout" | "reload --reason" | "reload --max-parallel" | "reload --confirm-within" | "rollback --timeout" | "rollback --reason" | "start --timeout" | "stop --timeout" | "restart --timeout" | "history --number" | "history -n" | "history --verdict" | "hold --reason" | "hold --for" | "logs --lines" | "logs -n" | "wait --timeout" | "export --since" | "apply --timeout" | "apply --reason" | "upgrade --timeout")
                ((i++))
                [[ ${COMP_WORDS[i]} == "=" ]] && ((i++))
                [[ $word == --socket && i -lt COMP_CWORD ]] && connect=(--socket "${COMP_WORDS[i]}")
                ;;
            *" -"* | *" =") ;;
            *) if [[ -z $verb ]]; then verb=$word; else ((n++)); fi ;;
        esac
    done

    COMPREPLY=()
    case "$verb $prev" in
        *" --socket") compopt -o default; return ;;
        *" --color") words="auto always never" ;;
        "reload --timeout" | "reload --reason" | "reload --max-parallel" | "reload --confirm-within" | "rollback --timeout" | "rollback --reason" | "start --timeout" | "stop --timeout" | "restart --timeout" | "history --number" | "history -n" | "hold --reason" | "hold --for" | "logs --lines" | "logs -n" | "wait --timeout" | "export --since" | "apply --timeout" | "apply --reason" | "upgrade --timeout") return ;;
        "history --verdict") words="applied unchanged rejected refused rolled_back timed_out unverified held cancelled partial failed" ;;
    esac
    if [[ -z $words && $cur == -* ]]; then
        case $verb in
            "") words="--socket --json --color --help" ;;
            "reload") words="--all --if-changed --force --no-wait --timeout --reason --max-parallel --keep-going --require-proof --confirm-within --socket --json --color --help" ;;
            "rollback") words="--force --no-wait --timeout --reason --socket --json --color --help" ;;
            "confirm") words="--socket --json --color --help" ;;
            "cancel") words="--socket --json --color --help" ;;
            "status") words="--socket --json --color --help" ;;
            "start") words="--no-wait --timeout --socket --json --color --help" ;;
            "stop") words="--no-wait --timeout --socket --json --color --help" ;;
            "restart") words="--no-wait --timeout --socket --json --color --help" ;;
            "check") words="--socket --json --color --help" ;;
            "history") words="--number -n --verdict --starts --socket --json --color --help" ;;
            "show") words="--otlp --socket --json --color --help" ;;
            "diff") words="--exit-code --socket --json --color --help" ;;
            "hold") words="--reason --for --socket --json --color --help" ;;
            "release") words="--socket --json --color --help" ;;
            "logs") words="--follow -f --lines -n --socket --json --color --help" ;;
            "wait") words="--timeout --socket --json --color --help" ;;
            "export") words="--since --socket --json --color --help" ;;
            "plan") words="--socket --json --color --help" ;;
            "apply") words="--no-wait --timeout --reason --socket --json --color --help" ;;
            "upgrade") words="--timeout --socket --json --color --help" ;;
            "shutdown") words="--no-wait --socket --json --color --help" ;;
            "version") words="--socket --json --color --help" ;;
            "demo") words="--socket --json --color --help" ;;
            "unit") words="--user --socket --json --color --help" ;;
            "completion") words="--socket --json --color --help" ;;
        esac
    elif [[ -z $words && -z $verb ]]; then
        words="reload rollback confirm cancel status start stop restart check history show diff hold release logs wait export plan apply upgrade shutdown version demo unit completion"
    elif [[ -z $words ]]; then
        case "$verb $n" in
            "reload "* | "rollback 0" | "status "* | "start "* | "stop "* | "restart "* | "check "* | "history 0" | "diff 0" | "hold 0" | "release 0" | "logs 0") words="$(_reloadctl_ask services)" ;;
            "rollback 1" | "show 0") words="$(_reloadctl_ask services) $(_reloadctl_ask reloads)" ;;
            "confirm 0" | "cancel 0" | "wait 0") words="$(_reloadctl_ask reloads)" ;;
            "completion 0") words="bash zsh fish" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _reloadctl reloadctl
