import pytest
from pydantic import ValidationError
from support import make_delivery, make_event

from sodarouter import HtmlTemplate, Options, Reject, Template, TextTemplate
from sodarouter.template import MAX_OUTPUT


def render(source: str, body: object = "v4-2025-08-incidentCreated", *, html: bool = False) -> str:
    event = make_event(body)
    return Template(source, html=html).render(event, make_delivery(event))


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


def test_lines_that_are_only_tags_leave_no_trace():
    assert render("a\n  {% if true %}\nb\n  {% endif %}\nc\n") == "a\nb\nc\n"


@pytest.mark.parametrize("source", ["{{ nobody }}", "{{ incident.nothing }}", "{{ payload.nothing.more }}"])
def test_an_unknown_name_is_told_and_never_rendered_as_nothing(source):
    with pytest.raises(Reject, match=r"template: UndefinedError: .*(nobody|nothing)"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ event.__class__.__mro__ }}",
        "{{ ''['__class__']['__mro__'] }}",
        "{{ event | attr('__class__') | attr('__mro__') }}",
        "{{ event.cut.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(event) }}",
        "{{ ('%s' | attr('__mod__'))(event) }}",
        "{{ self._TemplateReference__context }}",
        "{{ payload.update({'a': 1}) }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ lipsum.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
    ],
)
def test_the_sandbox_lets_nothing_out(source):
    with pytest.raises(Reject, match="template: "):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ [] + 1 }}",
        "{{ 5 | dictsort }}",
        "{{ range(1000000) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_whatever_goes_wrong_in_a_template_is_never_retried(source):
    with pytest.raises(Reject, match="template: "):
        render(source)


def test_output_is_capped():
    with pytest.raises(Reject, match="more than 1,048,576 characters"):
        render("{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}")
    assert len(render(f"{{{{ 'x' * {MAX_OUTPUT} }}}}")) == MAX_OUTPUT


def test_html_escapes_what_it_inserts_and_text_does_not():
    body = {"event": "x", "title": "<b>\"a\" & 'b'</b>"}
    assert (
        render("<p>{{ payload.title }}</p>", body, html=True)
        == "<p>&lt;b&gt;&#34;a&#34; &amp; &#39;b&#39;&lt;/b&gt;</p>"
    )
    assert render("<p>{{ payload.title }}</p>", body) == "<p><b>\"a\" & 'b'</b></p>"


def test_a_secret_of_the_view_is_not_printed_by_accident():
    assert render("{{ incident.callback_url }}") == "**********"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\nb {{ c", "template, line 2: unexpected end of template"),
        ("{% if x %}\n\n{% endfor %}", "template, line 3: Encountered unknown tag 'endfor'"),
        ("a\n\n{{ x | nosuch }}", "template, line 3: No filter named 'nosuch'"),
    ],
)
def test_what_is_no_template_is_told_with_its_line(source, said):
    with pytest.raises(ValueError, match=said):
        Template(source)


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
