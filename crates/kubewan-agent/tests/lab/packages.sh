#!/bin/sh
# Makes what publishers serve, below /srv: packages of Kubernetes' and of a distribution, signed, with their index. The
# programs in them are none.
set -eu
export GNUPGHOME=/srv/gpg HOME=/root
mkdir -p /srv/build "$GNUPGHOME"
chmod 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key 'Publisher <p@example.org>' rsa2048 sign never
gpg --batch --quiet --passphrase '' --quick-gen-key 'Someone else <s@example.org>' rsa2048 sign never

package() { # folder, name, version, more lines of its description
    cat >/srv/build/spec <<SPEC
Name: $2
Version: $3
Release: 150500.1.1
Summary: $2
License: none
BuildArch: noarch
${4:-}
%description
$2
%files
SPEC
    rpmbuild --quiet --define '_topdir /srv/build' --define "_rpmdir $1" -bb /srv/build/spec 2>/srv/build/log ||
        { cat /srv/build/log >&2; exit 1; }
}

sign() { # folder, key
    rpm --define "_gpg_name $2" --define "_gpg_path $GNUPGHOME" --define '__gpg /usr/bin/gpg' \
        --addsign "$1"/*/*.rpm >/srv/build/log 2>&1 || { cat /srv/build/log >&2; exit 1; }
    createrepo_c --quiet "$1"
    mkdir -p "$1/repodata"
    gpg --armor --export Publisher >"$1/repodata/repomd.xml.key"
}

kubernetes() { # folder, key
    for version in 1.36.1 1.36.2 1.36.3; do
        package "$1" kubeadm $version 'Requires: cri-tools kubelet kubectl'
        package "$1" kubelet $version 'Requires: kubernetes-cni iptables'
        package "$1" kubectl $version
    done
    package "$1" kubernetes-cni 1.8.0
    package "$1" cri-tools 1.36.0
    sign "$1" "$2"
}

kubernetes '/srv/signed/core:/stable:/v1.36/rpm' Publisher
kubernetes '/srv/forged/core:/stable:/v1.36/rpm' Someone
base=/srv/base
package $base iptables-nft 1.8.8 'Epoch: 1
Provides: iptables = 1.8.8'
package $base conntrack-tools 1.4.6
package $base curl-minimal 7.76.1 "Provides: curl = 7.76.1"
package $base oldrunc 1.0
package $base taker 2.0 'Obsoletes: oldrunc < 2'
sign $base Publisher
