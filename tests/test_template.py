"""Templates: what they see, what they may do, and that each has an end."""

import re
import resource
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from pydantic import ValidationError
from support import make_delivery, make_event

from sodarouter import (
    Dataset,
    HtmlTemplate,
    Options,
    Reject,
    Result,
    SecretTemplate,
    Team,
    Template,
    TextTemplate,
    UrlTemplate,
    View,
)
from sodarouter.options import Place
from sodarouter.redact import Redactor
from sodarouter.template import budget
from sodarouter.template.budget import SECONDS
from sodarouter.template.compiled import MAX_OUTPUT
from sodarouter.template.markup import markdown, slack


def render(source: str, body: object = "v4-2025-08-incidentCreated", *, html: bool = False, url: bool = False) -> str:
    event = make_event(body)
    return Template(source, html=html, url=url).render(event, make_delivery(event))


def why(source: str, body: object = "v4-2025-08-incidentCreated") -> str:
    with pytest.raises(Reject) as caught:
        render(source, body)
    return caught.value.reason


# what a template sees


def test_a_template_sees_event_delivery_payload_and_the_parts_of_the_view():
    assert render("{{ event.type }} {{ delivery.destination }}") == "incidentCreated there"
    assert (
        render("{{ incident.severity }} {{ payload.incident.number }} {{ results[0].name }}")
        == "high 2 No missing values"
    )
    assert render("{{ contract.author.email }}", "v4-2025-08-contractPublished") == "author@example.com"
    assert render("{{ agreement.label }}", "v3-agreementCreated") == "string"
    assert render("{{ payload.a | tojson }}", {"event": "x", "a": ["é"]}) == '["é"]'
    assert render("{{ incident.created | tojson }}") == '"2025-05-29 18:12:00+00:00"'


@pytest.mark.parametrize(("group", "expected"), [("ops", "ops of sales, ops"), (None, "sales of sales, ops")])
def test_a_template_sees_the_teams_and_the_one_that_the_delivery_is_for(group, expected):
    def enrich(view: View) -> View:
        datasets = tuple(Dataset(team=Team(name)) for name in ("sales", "ops", "sales"))
        return View(view.type, results=(Result(datasets=datasets),))

    event = make_event(enrich=enrich)
    template = Template("{{ team.name }} of {{ teams | map(attribute='name') | join(', ') }}")
    assert template.render(event, make_delivery(event, group=group)) == expected
    assert render("{{ team is none }} {{ teams | length }}") == "True 0"


def test_lines_that_are_only_tags_leave_no_trace():
    assert render("a\n  {% if true %}\nb\n  {% endif %}\nc\n") == "a\nb\nc\n"


def test_html_escapes_what_it_inserts_and_text_does_not():
    body = {"event": "x", "title": "<b>\"a\" & 'b'</b>"}
    assert (
        render("<p>{{ payload.title }}</p>", body, html=True)
        == "<p>&lt;b&gt;&#34;a&#34; &amp; &#39;b&#39;&lt;/b&gt;</p>"
    )
    assert render("<p>{{ payload.title }}</p>", body) == "<p><b>\"a\" & 'b'</b></p>"


def test_a_url_encodes_what_it_inserts_once():
    body = {"event": "x", "id": "a/b?c=d&e#f é%"}
    encoded = "a%2Fb%3Fc%3Dd%26e%23f%20%C3%A9%25"
    assert render("https://h/{{ payload.id }}/x?y=z", body, url=True) == f"https://h/{encoded}/x?y=z"
    assert render("{{ payload.id | urlencode }}", body, url=True) == encoded
    assert render("{% macro m() %}a/{{ payload.id }}{% endmacro %}{{ m() }}", body, url=True) == f"a/{encoded}"
    assert render("{{ 'a/' ~ payload.id }}", body, url=True) == f"a%2F{encoded}"


def test_a_secret_of_the_view_is_not_printed_by_accident():
    assert render("{{ incident.callback_url }}") == "**********"


# mistakes that are told when the configuration is loaded


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\nb {{ c", "template, line 2: unexpected end of template, expected 'end of print statement'"),
        ("{% if event %}\n\n{% endfor %}", "template, line 3: encountered unknown tag 'endfor'"),
        ("{% fro x in results %}", "template, line 1: encountered unknown tag 'fro'; did you mean 'for'?"),
        ("a\n\n{{ event | uper }}", "template, line 3: there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ event is definde }}", "template, line 1: there is no test 'definde'; did you mean 'defined'?"),
        ("{{ results | map('lenght') }}", "template, line 1: there is no filter 'lenght'; did you mean 'length'?"),
        ("{{ results | selectattr('x', 'equalt', 1) }}", "there is no test 'equalt'; did you mean 'equalto'?"),
        ("a\n{{ incidnet.title }}", "line 2: 'incidnet' is nothing that a template sees; did you mean 'incident'?"),
        ("{{ x }}", "template, line 1: 'x' is nothing that a template sees; templates see agreement, contract, delivery"),
        ("{{ incident.created | local('Europe/Berln') }}", "no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ("{% include '/etc/passwd' %}", "template, line 1: there are no other templates that it could take from"),
        ("{% import 'os' as os %}", "there are no other templates"),
        ("{% extends 'x' %}", "there are no other templates"),
        ("{{ lipsum() }}", "'lipsum' is nothing"),
        ("{% for a in results %}" * 30 + "{% endfor %}" * 30, "template, line 1: it is nested too deeply"),
        ("{% block a %}{% endblock %}\n{% block a %}{% endblock %}", "template, line 2: block 'a' defined twice"),
        ("{{ results | random }}", "there is no filter 'random'"),
        ("{{ " + "(" * 500 + ")" * 500 + " }}", "template, line 1: "),
    ],
)  # fmt: skip
def test_what_is_no_template_is_told_with_its_line(source, said):
    with pytest.raises(ValueError, match="template") as caught:
        Template(source)
    assert said in str(caught.value)
    assert not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% if results %}{% set x = 1 %}{% endif %}{{ x }}", "1"),
        ("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs | length }}{% endmacro %}{{ m(1) }}", "120"),
        ("{% for a, b in [(1, 2)] %}{{ loop.index }}{{ a }}{{ b }}{% endfor %}", "112"),
        ("{% set ns = namespace(x=0) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "3"),
        ("{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "1"),
        ("{% with y = 1 %}{{ y }}{% endwith %}", "1"),
        ("{% block a %}{{ event.type }}{% endblock %}{{ self.a() }}", "incidentCreatedincidentCreated"),
        ("{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "123"),
        ("{{ [1, 2] | sum }} {{ [[1], [2]] | sum(start=[]) }} {{ results | sum(attribute='value') }}", "3 [1, 2] 1.0"),
        ("{% for x in range(5) if x is even %}{{ x }}{{ ', ' if not loop.last }}{% endfor %}", "0, 2, 4"),
        ("{{ dict(a=1) }} {{ 'a-b'.split('-') }} {{ '%-5s|%03d' % ('a', 7) }}", "{'a': 1} ['a', 'b'] a    |007"),
        ("{{ {'b': 1}.items() | list }} {{ (1, 2)[0] }} {{ 7 // 2 }} {{ 2 ** 10 }}", "[('b', 1)] 1 3 1024"),
        (
            "{% for x in [1] %}{{ 'a-b'.split('-') }}{{ 'a'.center(3) }}{{ '-'.join('ab') }}{% endfor %}",
            "['a', 'b'] a a-b",
        ),
        ("{% block a %}{{ 'ab'.replace('a', 'b') }}{{ event.received.strftime('%Y') }}{% endblock %}", "bb2026"),
        ("{{ 'a' ~ 1 ~ none }} {{ 'b'.join(['1', '2']) }} {{ '7'.zfill(3) }}", "a1None 1b2 007"),
    ],
)
def test_what_the_language_has_still_works(source, expected):
    assert render(source) == expected


# mistakes that only an event shows


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("\n{{ incident.titel }}", "template, line 2: an Incident has no 'titel'; did you mean 'title'?"),
        ("{{ results[9] }}", "template, line 1: a list has no 9"),
        ("{{ payload.incidnt.more }}", "template, line 1: a dict has no 'incidnt'; did you mean 'incident'?"),
        ("{{ contract.author }}", "template, line 1: 'author' of none: the event does not have what stands before it"),
        ("{% macro m() %}\n\n{{ event.x }}{% endmacro %}\n{{ m() }}", "template, line 3: an Event has no 'x'"),
        ("{{ incident }}", "template, line 1: an Incident is no text; print one of its fields"),
        ("{{ results }}", "template, line 1: a Result is no text; print one of its fields"),
        ("{{ [incident] | tojson }}", "an Incident is no text"),
        ("{{ 'a' ~ incident }}", "an Incident is no text"),
        ("{{ incident | slack }}", "an Incident is no text"),
        ("{{ results | excerpt }}", "a Result is no text"),
        ("{{ '%s' | format(incident) }}", "an Incident is no text"),
        ("{{ incident.created | local(incident.title) }}", "there is no time zone 'There are missing values'"),
        ("{{ incident | link('slck') }}", "there is no markup 'slck'; did you mean 'slack'?"),
        ("{{ 1 / 0 }}", "template, line 1: ZeroDivisionError: division by zero"),
        ("{{ [] + 1 }}", "template, line 1: TypeError: "),
        ("{{ 5 | dictsort }}", "template, line 1: "),
        ("{{ range(1000000) }}", "template, line 1: OverflowError: "),
    ],
)
def test_what_goes_wrong_is_told_with_its_line_and_never_retried(source, said):
    assert said in why(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.__class__.__mro__ }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ event | attr('__class__') | attr('__mro__') }}",
        "{{ event.cut.__globals__ }}",
        "{{ event.cut([0]) }}",
        "{{ event.enrich(1) }}",
        "{{ event.payload.model_dump_json() }}",
        "{{ event.payload.model_construct() }}",
        "{{ '{0.__class__.__mro__}'.format(event) }}",
        "{{ '{a}'.format_map({'a': 1}) }}",
        "{{ ('%s' | attr('__mod__'))(event) }}",
        "{{ ('a' | attr('format'))(1) }}",
        "{{ self._TemplateReference__context }}",
        "{{ payload.update({'a': 1}) }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ dict.fromkeys([1]) }}",
        "{{ incident.callback_url.get_secret_value() }}",
        "{{ 'a'.translate({}) }}",
        "{{ 'a'.encode() }}",
        "{{ [1].append(2) }}",
        "{{ delivery.planned.now() }}",
        "{{ ['a'] | map('(center)', 9) | list }}",
        "{{ ['a'] | map('(weighed)') | list }}",
    ],
)
def test_the_sandbox_lets_nothing_out(source):
    assert "template, line 1: " in why(source)


# an end to everything


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}"
GROWING = "{% set ns = namespace(x='x', l=[1], t=(1,)) %}{% for i in range(99) %}"
END = "{% endfor %}{% endfor %}"
BIG = "{% set big = 'x' * 10000000 %}"
MANY = "{% set many = ['x' * 1000] * 10000 %}"


@pytest.mark.parametrize(
    "source",
    [
        LOOP + END,
        LOOP + "{% if a == b %}{% endif %}" + END,
        "{% for a in range(99999) if range(99999) | select('equalto', -1) | list %}{% endfor %}",
        "{% for a in range(99999) %}{{ '' if range(99999) | max }}{% endfor %}",
        "{% for a in range(99999) %}{% set x = range(99999) | map('string') | list %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% macro m(n) %}{% if n %}{% for i in [1, 2] %}{{ m(n - 1) }}{% endfor %}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for x in [60] recursive %}{% if x %}{{ loop([x - 1, x - 1]) }}{% endif %}{% endfor %}",
        "{% set l = range(99999) | list %}" + LOOP + "{% set x = l | sort(reverse=true) %}" + END,
        "{% set l = range(99999) | list %}" + LOOP + "{{ '' if -1 in l }}" + END,
        "{% macro m() %}{{ caller() }}{% endmacro %}" + LOOP + "{% call m() %}{% endcall %}" + END,
        BIG + LOOP + "{% set x = big | upper %}" + END,
        BIG + LOOP + "{{ '' if 'y' in big }}" + END,
    ],
)
def test_a_template_that_goes_on_and_on_is_stopped(source, monkeypatch):
    monkeypatch.setattr(budget, "SECONDS", 0.1)
    assert "it was stopped after 0.1 s of computing" in why(source)


def test_a_template_has_a_second():
    begun = time.thread_time()
    assert "it was stopped after 1 s of computing" in why(LOOP + END)
    assert time.thread_time() - begun >= SECONDS


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{% set l = [1] * 10 ** 9 %}",
        "{% set l = [[1] * 1000] * 1000 * 1000 %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%(a)1000000000d' | format(a=1) }}",
        BIG + "{{ '%(a)s%(a)s%(a)s' % {'a': big} }}",
        "{{ 'x' | center(10 ** 9) }}",
        "{{ 'x'.center(10 ** 9) }}",
        "{{ 'x'.ljust(10 ** 9) }}",
        "{{ 'x'.rjust(10 ** 9, 'y') }}",
        "{{ 'x'.zfill(width=10 ** 9) }}",
        "{{ ('x' * 1000000) | replace('', 'y' * 1000) }}",
        "{{ ('x' * 1000000).replace('x', 'y' * 1000) }}",
        "{{ ('x\n' * 1000000) | indent(1000) }}",
        "{{ 'x' | indent('y' * 10 ** 9) }}",
        BIG + "{{ big ~ big }}",
        BIG + "{{ big + big }}",
        MANY + "{{ many + many }}",
        MANY + "{{ (many + [1] * 400000) | join('y' * 100) }}",
        MANY + "{{ ('y' * 1000).join(many) }}",
        "{% set r = range(99999) | map('replace', '0', 'y' * 1000) %}{{ r | join }}",
        "{% set r = range(99999) | map('replace', '0', 'y' * 1000) %}{{ ''.join(r) }}",
        "{% set r = range(9999) | map('replace', '0', 'y' * 10000) | list %}",
        "{{ range(9) | batch(10 ** 9, 'x') | list }}",
        "{{ range(9) | slice(10 ** 9) | list }}",
        "{{ {'a': 1} | tojson(indent=10 ** 9) }}",
        MANY + "{{ many | tojson(indent=100) }}",
        "{{ ('x ' * 1000000) | wordwrap(1) }}",
        "{{ ('x ' * 10000) | wordwrap(1, wrapstring='y' * 10000) }}",
        "{{ ('(' * 1000000) | urlize }}",
        "{{ ('<b>' * 1000000) | striptags }}",
        "{{ ('x ' * 8000000) | title }}",
        "{{ ('x ' * 8000000) | wordcount }}",
        "{{ ('x ' * 8000000).split() }}",
        "{{ ('x-' * 8000000).split('-') }}",
        "{{ ('\u2028' * 8000000).splitlines() }}",
        "{{ 2 ** (2 ** 30) }}",
        "{{ 1 | round(-10 ** 9) }}",
        "{{ event.received.strftime('%c' * 10 ** 6) }}",
        "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        GROWING + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        GROWING + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
        GROWING + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l == ns.l }}",
        GROWING + "{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ {ns.t: 1} }}",
        GROWING + "{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l }}",
        GROWING + "{% set ns.l = dict(a=ns.l, b=ns.l) %}{% endfor %}{{ ns.l }}",
        GROWING + "{% set ns.l = [ns.l, ns.l] | list %}{% endfor %}{{ ns.l | string }}",
        GROWING + "{% set ns.x = ns.x | replace('x', 'xx') %}{% endfor %}",
        "{% set l = [[1] * 1000] * 1000 %}{{ (l + l) | sum(start=[]) | length }}",
        "{% macro m() %}{% for i in range(99999) %}" + "x" * 5000 + "{% endfor %}{% endmacro %}{% set x = m() %}",
        BIG + "{% set x %}{% for i in range(99) %}{{ big }}{% endfor %}{% endset %}",
        BIG + "{% filter upper %}{% for i in range(99) %}{{ big }}{% endfor %}{% endfilter %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x }}",
    ],
)
def test_what_would_fill_the_memory_is_never_made(source):
    begun = time.thread_time()
    assert "template" in why(source)
    assert time.thread_time() - begun < SECONDS


@pytest.mark.parametrize(
    "source",
    [
        "{{ ('x' | e).center(10 ** 9) }}",
        "{{ ('x' | e) * 10 ** 9 }}",
        "{{ ('%1000000000s' | e) % 1 }}",
        "{{ (('x' * 100000) | e).replace('x', 'y' * 1000) }}",
        "{{ (('y' * 1000) | e).join(['x' * 1000] * 10000) }}",
        "{{ ('{:1000000000}' | e).format(1) }}",
        "{{ (incident | link) | center(10 ** 9) }}",
    ],
)
def test_what_is_html_already_is_no_way_round(source):
    with pytest.raises(Reject):
        render(source, html=True)


def test_what_a_loop_has_made_and_left_is_not_kept():
    """A limit of the process's own memory would end this otherwise, long before the second is over."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), hard))
    try:
        assert "it was stopped" in why("{% for i in range(9999) %}{% set x = [i ~ 'x' * 4000000] %}{% endfor %}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_output_is_capped():
    assert "it gives more than 1,048,576 characters" in why("{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}")
    assert len(render(f"{{{{ 'x' * {MAX_OUTPUT} }}}}")) == MAX_OUTPUT


def test_nothing_is_computed_when_the_configuration_is_loaded():
    begun = time.thread_time()
    Template("{{ 'x' * 10 ** 9 }}{{ 'x' | center(10 ** 9) }}{{ 2 ** (2 ** 30) }}{% if 'x' * 10 ** 9 %}{% endif %}")
    assert time.thread_time() - begun < SECONDS / 2


def test_a_large_event_can_be_rendered():
    body = {"event": "x", "list": [{"name": f"check {number}", "value": number} for number in range(20_000)]}
    assert render("{{ payload | tojson | length }}", body) == str(len(render("{{ payload | tojson }}", body)))
    assert len(render("{% for x in payload.list %}{{ x.name }}: {{ x.value }}\n{% endfor %}", body)) > 300_000


# filters


RECEIVED = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)  # as in `make_event`


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-05-04T12:00:00Z", "just now"),
        ("2026-05-04T11:59:01Z", "just now"),
        ("2026-05-04T11:59:00Z", "1 minute ago"),
        ("2026-05-04T11:00:01Z", "59 minutes ago"),
        ("2026-05-04T11:00:00Z", "1 hour ago"),
        ("2026-05-02T12:00:01Z", "47 hours ago"),
        ("2026-05-02T12:00:00Z", "2 days ago"),
        ("2025-05-04T12:00:00Z", "365 days ago"),
        ("2026-05-04T12:05:00Z", "in 5 minutes"),
        (None, ""),
    ],
)
def test_ago_is_counted_from_when_the_event_was_received(time, expected):
    body = {"event": "incidentCreated", "incident": {"created": time}}
    assert render("{{ incident.created | ago }}", body) == expected


def test_times_are_shown_in_a_zone_and_spans_in_two_units():
    body = {
        "event": "incidentUpdated",
        "incident": {"created": "2026-03-29T00:30:00Z", "lastUpdated": "2026-03-29T02:01:05Z"},
    }
    zone = "Europe/Berlin"
    assert render(f"{{{{ incident.created | local('{zone}') }}}}", body) == "2026-03-29 01:30 CET"
    assert render(f"{{{{ incident.updated | local('{zone}') }}}}", body) == "2026-03-29 04:01 CEST"
    assert render("{{ incident.updated | local }}", body) == "2026-03-29 02:01 UTC"
    assert render("{{ incident.updated | local('Asia/Tokyo', '%H:%M') }}", body) == "11:01"
    assert render("{{ (incident.updated - incident.created) | duration }}", body) == "1h 31m"
    assert render("{{ 90 | duration }} {{ -90 | duration }} {{ 0.5 | duration }}", body) == "1m 30s -1m 30s 500ms"
    assert render("{{ incident.resolved | local }}{{ incident.resolved | ago }}{{ none | duration }}", body) == ""


def test_the_same_event_renders_the_same_later():
    event = make_event("v3-incidentCreated")
    template = Template("{{ incident.created | ago }} {{ incident.created | local('Asia/Tokyo') }}")
    assert template.render(event, make_delivery(event)) == template.render(event, make_delivery(event, attempt=9))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ incident | link('slack') }}", "<https://cloud.soda.io/i/7|INC-7 &lt;!channel&gt; *x* [a](b)>"),
        ("{{ incident | link('markdown') }}", r"[INC\-7 \<\!channel\> \*x\* \[a\]\(b\)](https://cloud.soda.io/i/7)"),
        ("{{ incident | link('html') }}", '<a href="https://cloud.soda.io/i/7">INC-7 &lt;!channel&gt; *x* [a](b)</a>'),
        ("{{ incident | link }}", "INC-7 <!channel> *x* [a](b) (https://cloud.soda.io/i/7)"),
        ("{{ incident | link('slack', text='open') }}", "<https://cloud.soda.io/i/7|open>"),
        ("{{ results[0] | link }}", "Rows (https://cloud.soda.io/c?a=%28b%29%7C%3E%20&c)"),
        ("{{ results[0] | link('slack') }}", "<https://cloud.soda.io/c?a=%28b%29%7C%3E%20&amp;c|Rows>"),
        ("{{ results[0].datasets[0] | link('slack') }}", "&lt;orders&gt;"),
        ("{{ results[0].datasets[0] | link('markdown') }}", r"\<orders\>"),
        ("{{ 'https://run.book/1' | link('slack', 'Runbook') }}", "<https://run.book/1|Runbook>"),
        ("{{ 'javascript:x' | link('html') }}", "javascript:x"),
        ("{{ contract | link('slack') }}", ""),
    ],
)  # fmt: skip
def test_links_are_made_for_each_place(source, expected):
    check = {
        "name": "Rows",
        "sodaCloudUrl": "https://cloud.soda.io/c?a=(b)|> &c",
        "datasets": [{"name": "<orders>", "sodaCloudUrl": "javascript:alert(1)"}],
    }
    incident = {"number": 7, "title": "<!channel>\n*x* [a](b)", "sodaCloudUrl": "https://cloud.soda.io/i/7"}
    body = {"event": "incidentCreated", "incident": {**incident, "checkResults": [check]}}
    assert render(source, body) == expected


def test_in_html_a_link_is_html_and_everything_else_is_escaped_once():
    body = {"event": "incidentCreated", "incident": {"title": "a & <b>", "sodaCloudUrl": "https://h/?a&b"}}
    anchor = '<a href="https://h/?a&amp;b">a &amp; &lt;b&gt;</a>'
    assert render("{{ incident | link }}", body, html=True) == anchor
    assert render("{{ 'see ' ~ (incident | link) }}", body, html=True) == f"see {anchor}"
    assert render("{{ [incident | link, '<'] | join(' ') }}", body, html=True) == f"{anchor} &lt;"
    assert render("{{ incident | link('slack') }}", body, html=True) == str(
        escape(render("{{ incident | link('slack') }}", body))
    )
    assert render("{{ incident.title | excerpt }}", body, html=True) == "a &amp; &lt;b&gt;"
    assert render("{{ incident.title | e | excerpt }}", body, html=True) == "a &amp; &lt;b&gt;"
    assert render("{{ incident.title | e | e }}", body, html=True) == "a &amp; &lt;b&gt;"


def test_an_excerpt_says_what_it_leaves_out():
    body = {
        "event": "x",
        "text": "\n    checks for orders:\n      - row_count > 0\n\n      - b\n      - c\n    \n",
        "long": "x" * 300,
    }
    shown = "checks for orders:\n  - row_count > 0\n\n"
    assert render("{{ payload.text | excerpt }}", body) == f"{shown}  - b\n  - c"
    assert render("{{ payload.text | excerpt(3) }}", body) == f"{shown}… 2 more lines"
    assert render("{{ payload.text | excerpt(lines=4) }}", body) == f"{shown}  - b\n… 1 more line"
    assert render("{{ payload.long | excerpt(width=5) }}", body) == "xxxxx … 295 more"
    assert render("{{ contract | excerpt }}{{ none | excerpt }}", body) == ""


@given(st.text())
def test_slack_finds_no_mention_in_what_is_escaped(text):
    escaped = slack(text)
    assert not {"<", ">"} & set(escaped)
    assert escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


@given(st.text())
def test_what_is_escaped_for_markdown_is_the_text_with_backslashes(text):
    escaped = markdown(text)
    assert len(escaped) == len(text) + sum(sign in "\\`*_{}[]()#+-=.!|<>~$&" for sign in text)


# options


def test_templates_are_options():
    class Message(Options):
        text: TextTemplate
        html: HtmlTemplate

    event = make_event({"event": "x", "a": "<>"})
    compiled = {"text": Template("{{ payload.a }}"), "html": Template("{{ payload.a }}", html=True)}
    for options in (compiled, dict.fromkeys(compiled, "{{ payload.a }}")):
        message = Message.model_validate(options)
        assert message.text.render(event, make_delivery(event)) == "<>"
        assert message.html.render(event, make_delivery(event)) == "&lt;&gt;"
    with pytest.raises(ValidationError, match="template, line 1"):
        Message.model_validate({"text": "{{", "html": ""})
    with pytest.raises(ValidationError, match="a template is a string"):
        Message.model_validate({"text": 5, "html": ""})
    assert Message.model_json_schema()["properties"]["text"]["type"] == "string"


class Posting(Options):
    url: UrlTemplate
    key: SecretTemplate


TOKEN = "c4nary-c4nary-c4nary-c4nary"


def posting(**given: object) -> tuple[Posting, Place]:
    place = Place()
    keys = {"url": "https://example.org/", "key": "x"} | given
    return Posting.model_validate(keys, context=place), place


@given(st.text(min_size=1).filter(lambda text: not re.search(r"\{[{%#]", text)))
def test_a_secret_without_a_template_in_it_stays_as_it_was(text):
    hidden = posting(key=text)[0].key
    event = make_event()
    assert hidden.render(event, make_delivery(event)) == hidden.get_secret_value() == hidden.head == text
    assert not hidden.is_template


def test_a_secret_can_be_a_template_and_is_never_shown(monkeypatch):
    monkeypatch.setenv("KEY", TOKEN + "-{{ incident.number }}")
    options, place = posting(
        key={"env": "KEY"}, url=f"https://h:8443/{TOKEN}?id={{{{ payload.id }}}}&x={{{{ 'a b' }}}}"
    )
    event = make_event({"event": "incidentCreated", "id": "&/é", "incident": {"number": 7}})
    assert options.key.render(event, make_delivery(event)) == f"{TOKEN}-7"
    assert options.url.render(event, make_delivery(event)) == f"https://h:8443/{TOKEN}?id=%26%2F%C3%A9&x=a%20b"
    assert "c4nary" not in repr(options) + str(options) + options.model_dump_json()
    redact = Redactor(place.secrets)
    assert "c4nary" not in redact(f"{TOKEN}-7 https://h:8443/{TOKEN}?id=1")
    assert options.url.head == f"https://h:8443/{TOKEN}?id="


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://{{ payload.host }}/c4nary", "a template in a URL stands behind the host"),
        ("https://c4nary{{ payload.host }}/", "a template in a URL stands behind the host"),
        ("https://c4nary.org{{ payload.path }}", "a template in a URL stands behind the host"),
        ("{{ payload.url }}", "a template in a URL stands behind the host"),
        ("https:/{% if event %}/c4nary/{% endif %}", "a template in a URL stands behind the host"),
        ("https://h/{{ c4nary", "template, line 1: is no template that can be compiled"),
        ("https://h/{{ c4nary }}", "line 1: a name in it is unknown; templates see agreement, contract"),
        ("https://h/c4nary/{{ incidnet.id }}", "line 1: a name in it is unknown; did you mean 'incident'?"),
    ],
)
def test_a_secret_that_cannot_be_a_template_is_not_quoted(url, said):
    with pytest.raises(ValidationError) as caught:
        posting(url=url)
    assert said in str(caught.value)
    assert "c4nary" not in str(caught.value)


def test_a_secret_that_fails_on_an_event_is_not_quoted():
    event = make_event()
    with pytest.raises(Reject) as caught:
        posting(key="{{ 'c4nary' + 1 }}")[0].key.render(event, make_delivery(event))
    assert caught.value.reason == "template, line 1, of a secret: it fails on this event"
    assert caught.value.__cause__ is None
