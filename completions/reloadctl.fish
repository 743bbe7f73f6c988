# fish completion for reloadctl, made from the table in reloadctl/declare.py by reloadctl/shells; do not edit.

# The words before the cursor that are no options: the verb, then its arguments.
function __reloadctl_line
    set -l words (commandline -opc)
    set -l verb ''
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$verb $word"
            case '* --socket' '* --color' 'reload --timeout' 'reload --reason' 'reload --max-parallel' 'reload --confirm-within' 'rollback --timeout' 'rollback --reason' 'start --timeout' 'stop --timeout' 'restart --timeout' 'history --number' 'history -n' 'history --verdict' 'hold --reason' 'hold --for' 'logs --lines' 'logs -n' 'wait --timeout' 'export --since' 'apply --timeout' 'apply --reason' 'upgrade --timeout'
                set skip 1
            case '* -*'
            case '*'
                test -z "$verb"; and set verb $word
                echo $word
        end
    end
end

# Whether the verb is this one ('' for none yet) and, if a number is given, so many arguments are there.
function __reloadctl_at
    set -l line (__reloadctl_line)
    test "$line[1]" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; or test (math (count $line) - 1) = $argv[2]
end

# What the agent knows; nothing when there is none.
function __reloadctl_words
    set -l words (commandline -opc)
    set -l connect
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --socket
                set connect --socket $words[(math $i + 1)]
            case '--socket=*'
                set connect $words[$i]
        end
    end
    for what in $argv
        $words[1] $connect completion $what 2>/dev/null
    end
end

complete -c reloadctl -f
complete -c reloadctl -l socket -r -F -d 'the agent\'s socket; default $AGENTD_SOCKET'
complete -c reloadctl -l json -d 'print the agent\'s JSON, and nothing else'
complete -c reloadctl -l color -x -a 'auto always never' -d 'colours: auto (on a terminal), always, never'
complete -c reloadctl -l help -d 'what can be typed'

complete -c reloadctl -n "__reloadctl_at ''" -a reload -d 'make services take up their configuration, and print the verdict'
complete -c reloadctl -n '__reloadctl_at reload' -l all -d 'every service that is wanted up and not held'
complete -c reloadctl -n '__reloadctl_at reload' -l if-changed -d 'do nothing when the live configuration is the one on disk'
complete -c reloadctl -n '__reloadctl_at reload' -l force -d 'reload in spite of a hold'
complete -c reloadctl -n '__reloadctl_at reload' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at reload' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at reload' -l reason -x -d 'why, for the history'
complete -c reloadctl -n '__reloadctl_at reload' -l max-parallel -x -d 'how many services at once; default 1'
complete -c reloadctl -n '__reloadctl_at reload' -l keep-going -d 'go on with the others when one has failed'
complete -c reloadctl -n '__reloadctl_at reload' -l require-proof -d 'accept proven evidence only'
complete -c reloadctl -n '__reloadctl_at reload' -l confirm-within -x -d 'put it back unless it is confirmed within this time'
complete -c reloadctl -n '__reloadctl_at reload' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a rollback -d 'put a former version back and reload it; default: the newest good one that is not on disk'
complete -c reloadctl -n '__reloadctl_at rollback' -l force -d 'reload in spite of a hold'
complete -c reloadctl -n '__reloadctl_at rollback' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at rollback' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at rollback' -l reason -x -d 'why, for the history'
complete -c reloadctl -n '__reloadctl_at rollback 0' -a '(__reloadctl_words services)'
complete -c reloadctl -n '__reloadctl_at rollback 1' -a '(__reloadctl_words services reloads)'

complete -c reloadctl -n "__reloadctl_at ''" -a confirm -d 'keep a change that --confirm-within would put back'
complete -c reloadctl -n '__reloadctl_at confirm 0' -a '(__reloadctl_words reloads)'

complete -c reloadctl -n "__reloadctl_at ''" -a cancel -d 'give up a reload that waits, or that has touched nothing yet'
complete -c reloadctl -n '__reloadctl_at cancel 0' -a '(__reloadctl_words reloads)'

complete -c reloadctl -n "__reloadctl_at ''" -a status -d 'how services stand, and which configuration they run'
complete -c reloadctl -n '__reloadctl_at status' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a start -d 'want services up, over restarts of the agent too'
complete -c reloadctl -n '__reloadctl_at start' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at start' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at start' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a stop -d 'want services down, over restarts of the agent too'
complete -c reloadctl -n '__reloadctl_at stop' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at stop' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at stop' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a restart -d 'stop services, then start them'
complete -c reloadctl -n '__reloadctl_at restart' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at restart' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at restart' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a check -d 'run the check on the inputs as they are; touch nothing'
complete -c reloadctl -n '__reloadctl_at check' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a history -d 'past and running reloads, newest first'
complete -c reloadctl -n '__reloadctl_at history' -s n -l number -x -d 'how many; default 20'
complete -c reloadctl -n '__reloadctl_at history' -l verdict -x -a 'applied unchanged rejected refused rolled_back timed_out unverified held cancelled partial failed' -d 'only those that ended so'
complete -c reloadctl -n '__reloadctl_at history' -l starts -d 'starts of processes too'
complete -c reloadctl -n '__reloadctl_at history 0' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a show -d 'one reload as a waterfall; default: the newest'
complete -c reloadctl -n '__reloadctl_at show' -l otlp -d 'print its trace as one OTLP/JSON document'
complete -c reloadctl -n '__reloadctl_at show 0' -a '(__reloadctl_words services reloads)'

complete -c reloadctl -n "__reloadctl_at ''" -a diff -d 'what changed between two configurations, secrets masked; default: live and on_disk'
complete -c reloadctl -n '__reloadctl_at diff' -l exit-code -d 'exit with 1 when they differ'
complete -c reloadctl -n '__reloadctl_at diff 0' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a hold -d 'no reload of a service until it is released'
complete -c reloadctl -n '__reloadctl_at hold' -l reason -x -d 'why, for the history'
complete -c reloadctl -n '__reloadctl_at hold' -l for -x -d 'release by itself after this long'
complete -c reloadctl -n '__reloadctl_at hold 0' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a release -d 'allow reloads again; one that was turned away is run'
complete -c reloadctl -n '__reloadctl_at release 0' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a logs -d 'the captured output of a service'
complete -c reloadctl -n '__reloadctl_at logs' -s f -l follow -d 'go on printing what comes'
complete -c reloadctl -n '__reloadctl_at logs' -s n -l lines -x -d 'how many lines of the past; default 50'
complete -c reloadctl -n '__reloadctl_at logs 0' -a '(__reloadctl_words services)'

complete -c reloadctl -n "__reloadctl_at ''" -a wait -d 'follow a reload that was started with --no-wait, and print its verdict'
complete -c reloadctl -n '__reloadctl_at wait' -l timeout -x -d 'wait at most this long; the reload goes on'
complete -c reloadctl -n '__reloadctl_at wait 0' -a '(__reloadctl_words reloads)'

complete -c reloadctl -n "__reloadctl_at ''" -a export -d 'the traces of all reloads and starts as OTLP JSON Lines, oldest first'
complete -c reloadctl -n '__reloadctl_at export' -l since -x -d 'only what was asked for in this last while'

complete -c reloadctl -n "__reloadctl_at ''" -a plan -d 'what the definitions on disk would change, and which key forces what; touch nothing'

complete -c reloadctl -n "__reloadctl_at ''" -a apply -d 'put the definitions on disk in force, whole or not at all, and print what became of each service'
complete -c reloadctl -n '__reloadctl_at apply' -l no-wait -d 'do not wait for the end'
complete -c reloadctl -n '__reloadctl_at apply' -l timeout -x -d 'wait at most this long; what was asked goes on'
complete -c reloadctl -n '__reloadctl_at apply' -l reason -x -d 'why, for the history'

complete -c reloadctl -n "__reloadctl_at ''" -a upgrade -d 'replace the agent\'s code by what is installed now, in the same process; services go on'
complete -c reloadctl -n '__reloadctl_at upgrade' -l timeout -x -d 'wait at most this long for reloads that run'

complete -c reloadctl -n "__reloadctl_at ''" -a shutdown -d 'stop every service in reverse order, and the agent'
complete -c reloadctl -n '__reloadctl_at shutdown' -l no-wait -d 'do not wait for the end'

complete -c reloadctl -n "__reloadctl_at ''" -a version -d 'the version of reloadctl and of the agent'

complete -c reloadctl -n "__reloadctl_at ''" -a demo -d 'see reloads work and fail, on an agent of its own'

complete -c reloadctl -n "__reloadctl_at ''" -a unit -d 'the systemd unit for this installation'
complete -c reloadctl -n '__reloadctl_at unit' -l user -d 'for the systemd of a user instead of the host\'s'

complete -c reloadctl -n "__reloadctl_at ''" -a completion -d 'what makes a shell complete: bash, zsh or fish'
complete -c reloadctl -n '__reloadctl_at completion 0' -a 'bash zsh fish'
