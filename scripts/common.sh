# What scripts/demo and scripts/test share: missing packages, configuration, build. Sourced, not run.
#
# BUILD (build) is the build folder, MESON_ARGS further options for `meson setup`.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
BUILD=${BUILD:-build}
export LC_ALL=C # numbers with a point, sorting by bytes

packages=(g++ meson ninja-build pkg-config libeigen3-dev libhdf5-dev libyaml-cpp-dev libgtest-dev nlohmann-json3-dev
  libcli11-dev libfmt-dev libjpeg-dev libturbojpeg0-dev libspng-dev libwebp-dev libgif-dev libtiff-dev libavif-dev
  libheif-dev libzip-dev libarchive-dev zlib1g-dev libxxhash-dev libgd-dev
  libfreetype-dev fonts-noto-color-emoji
  libpcre2-dev libutf8proc-dev libpugixml-dev libsentencepiece-dev libopenmpi-dev openmpi-bin)
# Who multiplies matrices: the choice of meson.build, -Dblas=auto.
case $(uname -m) in x86_64) packages+=(libdnnl-dev) ;; *) packages+=(libopenblas-openmp-dev) ;; esac

die() {
  echo "${0##*/}: $1" >&2
  exit 1
}

# Installs what is missing of `packages`; needs apt, and root or sudo only then.
install_missing() {
  command -v dpkg-query >/dev/null || return 0 # another distribution: meson names what is missing
  local missing=() p
  for p in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  ((${#missing[@]})) || return 0
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "needs the packages ${missing[*]}; install them as root, or install sudo"
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || die "apt-get update failed; is there a network?"
  # A release without oneDNN gets a BLAS.
  if [[ " ${missing[*]} " == *" libdnnl-dev "* && -z $(apt-cache policy libdnnl-dev | sed -n '/Candidate: [0-9]/p') ]]; then
    missing=("${missing[@]/libdnnl-dev/libopenblas-openmp-dev}")
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install ${missing[*]}"
}

# Configures BUILD where it is not there. The CUDA backend takes minutes to compile: without a GPU only MESON_ARGS asks for it.
configure() {
  [[ -f $BUILD/build.ninja ]] && return
  local gpu=(-Dcuda=disabled)
  [[ -e /dev/nvidia0 || -e /dev/dxg ]] && gpu=()
  # shellcheck disable=SC2086 # MESON_ARGS is a list of words
  meson setup "$BUILD" "${gpu[@]}" ${MESON_ARGS:-} || die "the configuration failed, see above"
}

# build [TARGET...]
build() {
  configure
  ninja -C "$BUILD" "$@" || die "the build failed, see above"
}
