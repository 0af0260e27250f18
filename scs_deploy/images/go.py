# SPDX-License-Identifier: Apache-2.0
"""Programs of Go modules in build containers: Debian's compiler, one pinned module, and the list of what is in them.

The compiler is in the builder's volume, not in the image. The recipe pins the hash of the module's archive; `go.sum` in
it pins every dependency (https://go.dev/ref/mod#go-sum-files). No checksum database is asked: it could say no more.
"""

from __future__ import annotations

import shlex

from scs_deploy.images.apt import WORK
from scs_deploy.images.packages import GO
from scs_deploy.images.python import BUNDLE, inherited
from scs_deploy.images.recipe import GoModule

TARGET = "/usr/local/bin"
LISTS = "/usr/share/scs/go"
"""One file for each program, in the format of apt.DPKG_QUERY: the modules that are compiled into it."""

INHERITED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GOPROXY", "GONOPROXY", "GOPRIVATE")
"""The manager's variables that builds inherit: the module proxy, and access to it."""

COMPILER = """\
package=$(apt-cache depends golang-go | sed -n 's/^ *Depends: \\(golang-[0-9.]*-go\\)$/\\1/p')
[ -n "$package" ] || { echo 'E: the suites of this image have no package golang-go'; exit 1; }
version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')
"""

ASK = f'{COMPILER}echo "$package $version"\n'
"""Prints the package of the newest compiler in the suites, and its version."""

FETCH = f"""\
{COMPILER}\
exec 9>{WORK}/lib/go.lock
flock 9
[ "$(cat {WORK}/lib/go.version 2>/dev/null)" = "$version" ] || {{
  rm -rf {WORK}/lib/go {WORK}/lib/go.new
  cd {WORK}/archives
  for name in "$package" "${{package%-go}}-src"; do
    apt-get download "$name"
    dpkg-deb -x "$name"_*.deb {WORK}/lib/go.new
    rm -f "$name"_*.deb
  done
  mv {WORK}/lib/go.new {WORK}/lib/go && echo "$version" > {WORK}/lib/go.version
}}
exec 9>&-
"""

LIST = f"sort -u {LISTS}/* 2>/dev/null || true\n"
"""Prints the modules of all Go programs of an image."""

# Fields of `go version -m`: the compiler after the file's name, then mod and dep, or => for a module that replaces one.
_MODULES = f"""\
BEGIN {{ OFS = "\\t" }}
function row(name, version) {{ print "ii", "{GO}" name, version, "any", name, version }}
NR == 1 {{ sub("^go", "v", $2); row("stdlib", $2) }}
$1 == "mod" {{ row($2, wanted) }}
$1 == "dep" {{ if (name != "") row(name, version); name = $2; version = $3 }}
$1 == "=>" {{ name = $2; version = $3 }}
END {{ if (name != "") row(name, version) }}
"""


def build(module: GoModule) -> str:
    """The script that compiles a module's programs and installs them, after FETCH."""
    source = f"{WORK}/private/$HOSTNAME.go"
    wanted = shlex.quote(f"{module.module}@{module.version}")
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in module.variables.items())])
    lines = [
        f"export GOROOT=$(echo {WORK}/lib/go/usr/lib/go-*)",
        'go="$GOROOT/bin/go"',
        f'said=$("$go" mod download -json {wanted}) || {{ echo "$said"; exit 1; }}',
        """sum=$(echo "$said" | sed -n 's/^\\t"Sum": "\\(.*\\)",*$/\\1/p')""",
        """folder=$(echo "$said" | sed -n 's/^\\t"Dir": "\\(.*\\)",*$/\\1/p')""",
        f'[ "$sum" = {shlex.quote(module.sum)} ] || {{ echo "error: {module.module} {module.version}: '
        f'sum: the recipe has {module.sum}, the archive $sum"; exit 1; }}',
        f'rm -rf "{source}" && cp -r "$folder" "{source}" && chmod -R u+w "{source}" && cd "{source}"',
        f"mkdir -p {LISTS}",
    ]
    for program, package in module.programs.items():
        target = shlex.quote(f"{TARGET}/{program}")
        lines += [
            f'"$go" build -trimpath -buildvcs=false -ldflags {shlex.quote(flags)} -o {target} {shlex.quote(package)}',
            f'"$go" version -m {target} | awk -v wanted={shlex.quote(module.version)} {shlex.quote(_MODULES)} '
            f"> {shlex.quote(f'{LISTS}/{program}')}",
        ]
    lines.append(f'cd / && rm -rf "{source}"')
    return "\n".join(lines) + "\n"


def environment(trusted: bool) -> dict[str, str]:
    """Environment variables for the compiler in a build container.

    :param trusted: whether the volume contains a bundle of CA certificates
    """
    return {
        **inherited(INHERITED),
        **({"SSL_CERT_FILE": BUNDLE} if trusted else {}),
        "CGO_ENABLED": "0",
        "GOCACHE": f"{WORK}/go/cache",
        "GOENV": "off",
        "GOFLAGS": "-mod=readonly",
        "GOPATH": f"{WORK}/go",
        "GOSUMDB": "off",
        "GOTELEMETRY": "off",
        "GOTOOLCHAIN": "local",
    }


def parse_compiler(output: str) -> dict[str, str]:
    """{package: version} from the output of ASK."""
    package, version = output.split()
    return {package: version}
