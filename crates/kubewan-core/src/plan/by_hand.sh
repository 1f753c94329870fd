# Files that came along lie in the folder that is named as argument, else beside this script.
files=$(cd "${1:-$(dirname "$0")}" && pwd)
config=
discovery=
trap 'for file in "$config" "$discovery"; do if [ -n "$file" ]; then rm -f "$file"; fi; done' EXIT
# dash runs that of EXIT only where the script ends by itself.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '── %s\n' "$*" >&2; }
stop() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Before anything is changed: whose host it is, and what it is.
[ "$(id -u)" = 0 ] || stop 'run this as root'
if [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
  stop 'this host is a control plane already: nothing was changed'
fi
# Of which cluster a kubelet is, its certificate authority tells: kubeadm writes it down (app/cmd/join.go), and the kubelet
# with its own credentials.
is_of_ours() {
  [ "$(base64 -w0 /etc/kubernetes/pki/ca.crt 2> /dev/null)" = "$authority" ] || grep -qsF "$authority" "$1"
}
for theirs in /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf; do
  if [ -e "$theirs" ] && ! is_of_ours "$theirs"; then
    stop "this host is a node of another cluster ($theirs): nothing was changed; \`kubeadm reset\` there takes it out"
  fi
done

# What was there is kept beside it, once.
keep() {
  mkdir -p "$(dirname "$1")"
  if [ -e "$1" ] && [ ! -e "$1.before-kubewan" ]; then cp -p "$1" "$1.before-kubewan"; fi
}
# put MODE PATH: standard input becomes the file.
put() {
  keep "$2"
  cat > "$2.new" && chmod "$1" "$2.new" && mv -f "$2.new" "$2"
}
# came NAME SHA256: a file that came along is there and right.
came() {
  [ -f "$files/$1" ] || stop "$1 is not in $files: bring the files along that \`kubewan join-command --files\` makes"
  echo "$2  $files/$1" | sha256sum --check --status || stop "$files/$1 is not what it should be: its SHA-256 is not $2"
}
# bring MODE PATH NAME SHA256 URL: a program that came along, or is downloaded.
bring() {
  if [ -f "$2" ] && echo "$4  $2" | sha256sum --check --status; then return 0; fi
  keep "$2"
  if [ -z "$5" ] || [ -f "$files/$3" ]; then
    came "$3" "$4"
    cp "$files/$3" "$2.new"
  else
    curl -fsSL --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60 -o "$2.new" "$5" || stop "can't download $5"
    echo "$4  $2.new" | sha256sum --check --status || stop "$5 is not what was published: its SHA-256 is not $4"
  fi
  chmod "$1" "$2.new" && mv -f "$2.new" "$2"
}
# block PATH: standard input takes the place of kubewan's block in a file that others write to.
block() {
  keep "$1"
  [ -e "$1" ] || : > "$1"
  # A block whose end somebody took away ends with its first line: what follows may be theirs.
  { awk '/^# BEGIN kubewan / { if (held != "") printf "%s", rest; held = $0; rest = ""; next }
    held != "" && /^# END kubewan$/ { held = ""; rest = ""; next }
    held != "" { rest = rest $0 "\n"; next }
    { print }
    END { printf "%s", rest }' "$1"; cat; } > "$1.new"
  # In its place at once, but where something is mounted on it.
  chmod --reference="$1" "$1.new" && chown --reference="$1" "$1.new"
  mv -f "$1.new" "$1" 2> /dev/null || { cat "$1.new" > "$1" && rm -f "$1.new"; }
}
module() {
  if [ -e "/sys/module/$1" ] || grep -qw "$1" /proc/filesystems; then return 0; fi
  if [ "$1" = br_netfilter ] && [ -e /proc/sys/net/bridge ]; then return 0; fi
  modprobe "$1" || stop "the kernel has no $1"
}
setting() {
  [ "$(sysctl -n "$1" 2> /dev/null)" = "$2" ] || sysctl -qw "$1=$2" || stop "can't set $1 = $2"
}
# Areas that a unit of someone's or a generator makes (zram-generator) come back at boot unless the unit is masked, and services
# that make some by themselves too.
swap_off() {
  units=$(systemctl list-units --all --plain --no-legend --type swap 2> /dev/null | awk '{ print $1 }' || true)
  units="$units $(systemctl list-unit-files --no-legend --type swap 2> /dev/null | awk '{ print $1 }' || true)"
  for unit in $units zramswap.service zram-config.service dphys-swapfile.service swapspace.service; do
    if [ "$(systemctl show -p LoadState --value "$unit" 2> /dev/null)" = loaded ]; then
      systemctl mask --quiet --now "$unit" || say "$unit can't be masked, and may bring swap back at the next boot"
    fi
  done
  if grep -q '^/' /proc/swaps 2> /dev/null; then swapoff -a; fi
  if grep -Eq '^[^#[:space:]]+[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$)' /etc/fstab 2> /dev/null; then
    keep /etc/fstab
    sed -E -i '/^[^#[:space:]]+[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$)/s/^/# kubewan: /' /etc/fstab
  fi
}
selinux_permissive() {
  [ -e /sys/fs/selinux/enforce ] || return 0
  setenforce 0 || stop "can't make SELinux permissive"
  if [ -e /etc/selinux/config ]; then
    keep /etc/selinux/config
    sed -i 's/^SELINUX=enforcing/SELINUX=permissive/' /etc/selinux/config
  fi
}
time_on() {
  timedatectl set-ntp true 2> /dev/null || say 'no time service could be switched on: certificates need a clock that is right'
}
# on_a_card ADDRESS: it is on an interface already that is not kubewan's.
on_a_card() { ip -4 -o address | grep -v ' kubewan0 ' | grep -qF " $1/"; }
has_address() {
  ip -4 -o address show dev "$1" | grep -qF " $2/32 " || stop "$2 is not on $1: see \`systemctl status $3\`"
}
# unit NAME [started]
unit() {
  systemctl daemon-reload
  systemctl enable --quiet "$1"
  if [ "${2:-}" = started ]; then systemctl restart "$1" || stop "$1 does not start: see \`journalctl -u $1\`"; fi
}
apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get --yes --quiet --no-install-recommends \
    -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef -o DPkg::Lock::Timeout=300 "$@" < /dev/null >&2
}
packages() { apt install "$@" || { apt update && apt install "$@"; } || stop "apt-get can't install $*"; }
# package_files NAME...: those of the packages that came along which are not there, or older. Without the distribution's
# archive first: apt would rather download what lies here.
package_files() {
  for name in "$@"; do
    shift
    there=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$(dpkg-deb -f "$files/$name" Package)" 2> /dev/null || true)
    # What was removed and not purged still has a version.
    case $there in 'installed '*) there=${there#installed } ;; *) there= ;; esac
    if [ -z "$there" ] || dpkg --compare-versions "$there" lt "$(dpkg-deb -f "$files/$name" Version)"; then
      set -- "$@" "$files/$name"
    fi
  done
  [ $# -gt 0 ] || return 0
  apt -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null -o Dir::Cache::pkgcache= \
    -o Dir::Cache::srcpkgcache= install "$@" || apt install "$@" || stop "apt-get can't install the packages that came along"
}
# pulled REFERENCE: as the kubelet would pull it, for as long as an agent would wait.
pulled() {
  timeout --foreground 900 ctr --namespace k8s.io images pull --hosts-dir "$certs_d" "$1" > /dev/null ||
    stop "containerd can't pull $1: the last line above has its reason; run this again where that has changed"
}
# image REFERENCE NAME SHA256
image() {
  came "$2" "$3"
  ctr --namespace k8s.io images import "$files/$2" > /dev/null || stop "containerd does not take $1"
}
# A file that sets an argument of the kubelet otherwise would win over kubeadm's.
no_other_argument() {
  for file in /etc/default/kubelet /etc/sysconfig/kubelet; do
    if grep -s -- "--$1[= ]" "$file" | grep -qvF -- "--$1=$2"; then
      stop "$file sets --$1 otherwise: take it out, and run this again"
    fi
  done
}
# join DISCOVERY [CHECKS]: standard input is kubeadm's configuration, which names the first file.
join() {
  discovery=$1
  shift
  if [ -e /etc/kubernetes/kubelet.conf ]; then
    say 'it has joined already'
    cat > /dev/null
  else
    config=$(mktemp)
    cat > "$config"
    kubeadm join --config "$config" "$@" >&2 || stop "kubeadm join failed; after a half-done one, \`kubeadm reset\` and run this again"
  fi
  rm -f "$config" "$discovery" "$discovery.before-kubewan"
  config=
}
as_kubelet() {
  for try in 1 2 3 4 5 6 7 8 9 10; do
    if kubectl --kubeconfig /etc/kubernetes/kubelet.conf "$@" >&2; then return 0; fi
    sleep 3
  done
  stop "the API does not take what the node says of itself: kubectl $*"
}

here=$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")
if [ "$here" != "$distribution" ]; then say "this is $here, and the script was made for $distribution: packages may not fit"; fi
case "$arch/$(uname -m)" in
  amd64/x86_64 | arm64/aarch64) ;;
  *) stop "this is $(uname -m), and the programs are for $arch" ;;
esac
