# bash completion for vmferry. The options follow `vmferry migrate --help`; a test compares them.

_vmferry() {
	local cur prev
	_init_completion || return

	case $prev in
	--mirror)
		COMPREPLY=($(compgen -W 'auto blockdev drive none' -- "$cur"))
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
		COMPREPLY=($(compgen -W 'migrate check --help --version' -- "$cur"))
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W '--disk --map --start --mirror --incremental
			--trust-backing --fast --bandwidth
			--downtime-limit --data-address --ports --keep-source --timeout --identity
			--ssh-config --known-hosts --json --quiet --verbose --help' -- "$cur"))
	else
		_filedir
	fi
} &&
	complete -F _vmferry vmferry
