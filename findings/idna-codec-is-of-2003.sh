#!/usr/bin/env bash
# Python's codec "idna" is of 2003 (RFC 3490): it makes another domain of ß than browsers, registries and the package idna
# (IDNA 2008, RFC 5891): who sends mail by it sends it to somebody else.
. "$(dirname "$0")/common.sh"
packages idna==3.20
seen 'codec:   straße.example -> strasse.example
package: straße.example -> xn--strae-oqa.example' <<'PY'
import idna

domain = "stra\u00dfe.example"
print(f"codec:   {domain} -> {domain.encode('idna').decode()}")
print(f"package: {domain} -> {idna.encode(domain, uts46=True).decode()}")
PY
