"""Templates that would never end, or eat the memory. tests/unit/templating/test_compiler.py has the ways out of the
sandbox (`test_the_sandbox_has_no_way_out`) and the simple bombs (`test_a_bomb_is_refused_soon`).
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.core.errors import TemplateError, Where
from gateway.templating.compiler import Templates
from gateway.testing import make_event

HEAVY = "a value is larger than 4 million characters and values"
WORK = "it handles more than 16 million characters and values: loops within loops?"
LONG = "the text is longer than 1 MiB"
DOUBLING = "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}"
BOMBS = {
    "{{ ('\\t' * 1000000).expandtabs(9999) }}": LONG,
    "{{ ('{0}' * 200000).format('x' * 1000000) }}": HEAVY,
    "{{ ('%(a)s' * 200000) % {'a': 'x' * 1000000} }}": HEAVY,
    "{{ ('%s' * 200000) | format('x' * 1000000) }}": HEAVY,
    "{{ ('http://a.com ' * 50000) | urlize(target='x' * 100000) }}": LONG,
    "{{ (['a'] * 100000) | replace('a', 'b' * 10000) }}": LONG,
    "{{ range(10000) | map('string') | join('x' * 1000000) | length }}": HEAVY,
    "{{ ([[1] * 10000] * 10000) | sum(start=[]) | length }}": HEAVY,
    "{{ range(10000) | map('string') | map('center', 10000) | list | length }}": WORK,
    "{{ range(10000) | map('string') | map('center', 9999) | map('list') | list | length }}": WORK,
    "{{ 'a' | center(9999)" + " | list | string" * 7 + " | length }}": WORK,
    DOUBLING + "{% endfor %}{{ n.x }}": HEAVY,
    DOUBLING + "{% endfor %}{{ n.x | tojson | length }}": HEAVY,
    DOUBLING + "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}": HEAVY,
    DOUBLING.replace("[n.x, n.x]", "{'a': n.x, 'b': n.x}") + "{% endfor %}": HEAVY,
    DOUBLING.replace("[n.x, n.x]", "(n.x, n.x)") + "{% endfor %}": HEAVY,
    DOUBLING.replace("[n.x, n.x]", "dict(a=n.x, b=n.x)") + "{% endfor %}": HEAVY,
    "{{ ('f' * 999999) | int(base=16) }}": "the number is too large",
    "{{ ('a' * 1000000) | wordwrap(1) | length }}": WORK,
    "{% for i in range(10000) %}{% set x = ('a' * 1000000) | upper %}{% endfor %}": WORK,
    "{% for i in range(10000) %}{% set x = [1] * 1000000 %}{% set y = x == [2, i] * 500000 %}{% endfor %}": WORK,
    "{% set a = 'a' * 1000000 %}{% for i in range(10000) %}{% set x = a[1:] %}{% endfor %}": WORK,
    "{% set a = [1] * 1000000 %}{% for i in range(10000) %}{% set x = a.index(1) %}{% endfor %}": WORK,
    "{% set a = [1] * 1000000 %}{% for i in range(10000) %}{% set x = i is in(a) %}{% endfor %}": WORK,
    "{% for i in range(10000) %}{% set x %}{{ 'a' * 1000000 }}{% endset %}{% endfor %}": WORK,
    "{{ ([1] * 1000000) | pprint | length }}": WORK,
    "{{ ([1] * 1000000) | tojson(indent=16) | length }}": HEAVY,
    "{{ (1000000 * [[1]]) | groupby(0) | list | length }}": HEAVY,
    "{% set n = namespace(x='a' * 1000000, y=[]) %}{% for i in range(99) %}{% set n.y = n.y + [n.x ~ i] %}{% endfor %}":
        LONG,
}  # fmt: skip
MANY = """
import re, sys
from pathlib import Path
from gateway.core.errors import TemplateError, Where
from gateway.templating.compiler import Templates
def most():  # getrusage() counts what the process had been before its exec
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = most()
for source in sys.stdin.read().split("\\x00"):
    try:
        Templates(Path(".")).leaf(source, Where("f", 1, 1, "p")).render({})
    except TemplateError:
        pass
print((most() - before) // 1024)
"""


def refused(source: str) -> str:
    with pytest.raises(TemplateError) as caught:
        Templates(Path()).leaf(source, Where("gateway.yaml", 1, 1, "p")).render({})
    return caught.value.message.partition(", in: ")[0]


@pytest.mark.parametrize(("source", "words"), [(s, w) for s, w in BOMBS.items() if "n.y + " not in s])
def test_a_template_that_makes_much_of_little_is_refused_soon(source: str, words: str) -> None:
    began = time.thread_time()
    assert refused(source) == words
    assert time.thread_time() - began < 15  # the slowest takes 2 s


def test_what_only_grows_is_refused(tmp_path: Path) -> None:
    (source,) = (one for one in BOMBS if "n.y + " in one)
    assert refused(source) in (HEAVY, LONG, WORK)


def test_all_bombs_together_take_little_memory() -> None:
    """In a process of their own, whose memory is measured, and bounded should they succeed."""

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input="\0".join(BOMBS),
        capture_output=True,
        text=True,
        preexec_fn=bound,
        timeout=200,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400  # MiB; 130 here


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ ''.translate }}", None),
        ("{{ namespace.__init__.__globals__ }}", None),
        ("{{ joiner }}{{ cycler }}", None),
        ("{{ '{0.__init__.__globals__}'.format(namespace()) }}", None),
        ("{{ namespace(a=1) }}", None),
        ("is {{ namespace(a=1) }}", "is <namespace>"),
        ("{{ [[1, 2], [3]] | sum(start=[]) }}", [1, 2, 3]),
        ("{{ [{'a': [1]}, {'a': [2]}] | sum('a', start=[]) }}", [1, 2]),
        ("{{ [1, 2, 3] | join('-') }}", "1-2-3"),
        ("{{ [{'a': 1}, {'a': 2}] | join('-', attribute='a') }}", "1-2"),
        ("{{ ['b', 'a'] | sort | first }}", "a"),
        ("{{ {'a': [1]} | tojson(indent=1) }}", '{\n "a": [\n  1\n ]\n}'),
        ("{{ 'one two three' | wordwrap(7) }}", "one two\nthree"),
        ("{{ 'a\tb'.expandtabs(4) }}", "a   b"),
        ("{% set n = namespace(s=[]) %}{% for i in range(900) %}{% set n.s = n.s + [i] %}{% endfor %}{{ n.s | sum }}",
         "404550"),
        ("{{ [1] * 1000 == [1] * 1000 and 2 in [1, 2] and 'a' in {'a': 1} }}", True),
        ("{{ 'abcdef'[1:3] }}", "bc"),
    ],
)  # fmt: skip
def test_what_is_no_bomb_renders_as_before(source: str, value: object) -> None:
    leaf = Templates(Path()).leaf(source, Where("f", 1, 1, "p"))
    if value is None:
        with pytest.raises(TemplateError):
            leaf.render({})
    else:
        assert leaf.render({}) == value


def test_the_largest_event_can_be_handled_several_times() -> None:
    """A body may have 1 MiB."""
    event = make_event(object={"lines": [{"id": f"li_{i}", "n": i} for i in range(30_000)]})
    scope = {"object": event["data"]["object"]}
    source = "{{ object.lines | map(attribute='n') | sum }} {{ object.lines | length }} {{ object.id | tojson }}"
    text = Templates(Path()).leaf(source, Where("f", 1, 1, "p")).render(scope)
    assert text.startswith(f"{sum(range(30_000))} 30000 ")
    whole = Templates(Path()).leaf("{{ {'all': object, 'again': [object]} }}", Where("f", 1, 1, "p")).render(scope)
    assert whole["again"][0] == whole["all"]
