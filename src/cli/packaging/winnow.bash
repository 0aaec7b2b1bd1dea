# bash completion for winnow. The options are read from the program's own --help, so they never differ from it.

_winnow() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local subcommands="audit watch prune extract merge report verify plan methods synth"
  COMPREPLY=()

  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "$subcommands --help --version" -- "$current")
    return
  fi
  local choices=
  case $previous in
    --preset) choices="tiny llama-2-7b llama-3-8b llama-3-70b llama-3-405b" ;;
    --repair)
      choices="drop zero deflect subtract project restore extrapolate unablate merge scale"
      [[ ${COMP_WORDS[1]} == prune ]] || choices="none $choices"
      ;;
    --side) choices="block left right" ;;
    --project-by) choices="operator subspace rescaled" ;;
    --scaling) choices="peft none" ;;
    --population) choices="role adapter zoo" ;;
    --scope) choices="adapter zoo" ;;
    --device) choices="auto cpu cuda" ;;
    --precision) choices="float32 tf32" ;;
    --backend) choices="auto cpu torch reference" ;;
    --io) choices="auto direct buffered mmap" ;;
    --progress) choices="auto bar lines none" ;;
    --log-level) choices="error warning info debug" ;;
    --methods) choices="default all $("${COMP_WORDS[0]}" methods 2>/dev/null | awk -F: '/^[a-z]/ { print $1 }')" ;;
    --rank-by) choices=$("${COMP_WORDS[0]}" methods 2>/dev/null | awk '/ worse: (high|low) / { print $1 }') ;;
    --dtype) choices="float32 float16 bfloat16" ;;
    --base | --aligned | --from | --merged | --adapter | --run | --output | --with | --repaired-dir | --journal | --cache | --csv)
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return
      ;;
  esac
  # The shell splits at "=": `--probe harmful=DIR` is four words.
  if [[ $previous == --probe || $previous == --direction ]]; then
    compopt -o nospace 2>/dev/null
    choices="harmful= safe="
    [[ ${COMP_WORDS[1]} == prune ]] && choices="harmful="
  elif [[ $current == "=" || $previous == "=" ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "${current#=}")
    return
  fi
  if [[ ${COMP_WORDS[1]} == watch && $COMP_CWORD == 2 && $current != -* ]]; then
    mapfile -t COMPREPLY < <(compgen -d -- "$current")
  elif [[ -n $choices ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current")
  elif [[ $current == -* ]]; then
    local options
    options=$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u)
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
  fi
}

complete -o filenames -F _winnow winnow
