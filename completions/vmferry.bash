# bash completion for vmferry. The options follow `vmferry COMMAND --help`; a test compares them.

_vmferry_options() {
	case $1 in
	migrate | check)
		echo '--disk --map --start --clone --copy-extra --scope --mirror
			--incremental --trust-backing --fast --bandwidth --downtime-limit
			--encrypt --data-address --ports --reconnect --retries --keep-source --timeout --identity
			--ssh-config --known-hosts --sudo --batch --json --quiet --verbose --help'
		;;
	begin)
		echo '--disk --mirror --incremental --trust-backing --timeout --json --quiet --verbose --help'
		;;
	prepare)
		echo '--disk --map --start --mirror --trust-backing --data-address --ports --timeout
			--json --quiet --verbose --help'
		;;
	perform)
		echo '--mirror --fast --bandwidth --downtime-limit --reconnect --timeout
			--json --quiet --verbose --help'
		;;
	finish)
		echo '--timeout --json --quiet --verbose --help'
		;;
	confirm)
		echo '--keep-source --timeout --json --quiet --verbose --help'
		;;
	status)
		echo '--timeout --identity --ssh-config --known-hosts --sudo --batch --json --quiet --verbose --help'
		;;
	cancel)
		echo '--help'
		;;
	recover)
		echo '--all --reconnect --timeout --identity --ssh-config --known-hosts
			--sudo --batch --json --quiet --verbose --help'
		;;
	esac
}

_vmferry() {
	local cur prev words
	_init_completion || return

	case $prev in
	--mirror)
		COMPREPLY=($(compgen -W 'auto blockdev drive none' -- "$cur"))
		return
		;;
	--encrypt)
		COMPREPLY=($(compgen -W 'psk x509:/ ssh none' -- "$cur"))
		[[ ${COMPREPLY-} != x509* ]] || compopt -o nospace
		return
		;;
	--timeout)
		COMPREPLY=($(compgen -S = -W 'connect answer start stall switchover' -- "$cur"))
		compopt -o nospace
		return
		;;
	-i | --identity | -F | --ssh-config | --known-hosts)
		_filedir
		return
		;;
	--disk | --map | --start | --bandwidth | --downtime-limit | --data-address | --ports)
		return
		;;
	esac

	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W 'migrate check begin prepare perform finish confirm
			status cancel recover
			--help --version' -- "$cur"))
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(_vmferry_options "${words[1]}")" -- "$cur"))
	else
		_filedir
	fi
} &&
	complete -F _vmferry vmferry
