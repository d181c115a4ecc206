"""The forms of a report say what the results say, whatever is in them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from paritree.common.errors import UsageError
from paritree.conformance.consequences import with_consequences
from paritree.conformance.report import ContractFailure, Report
from paritree.conformance.reports import BEGINNINGS
from paritree.conformance.reports.terminal import to_text
from paritree.conformance.results import Result, versions

from ...phone import too_wide

DOCS = Path(__file__).parents[3] / "docs" / "reports.md"
POLICY = "32 eps sqrt(4 tensors), eps of float32 1.2e-07"
HOLDS = Result("tiny", "torch -> nnx", "cpu", "gradients", "", "pass", 1e-7, 7.6e-6, policy=POLICY)
# What would end an attribute, an element, a script, a comment or a document, and what XML does not allow at all.
NASTY = "\"'<script>alert(1)</script>]]>--&amp; \x00\x1b[31m\ud800\uffff é \n second line"


def at(path: str, **values: Any) -> Result:
    return replace(HOLDS, path=path, port_path=path.replace("weight", "kernel"), **values)


FAILS = at(
    "a.weight",
    status="fail",
    measured=1.4,
    message="a.weight (= a.kernel): the gradient is transposed",
    cause="transposed",
    module="'a' = 'a'",
)


def drawn(path: str, reference: float, port: float, **values: Any) -> Result:
    """An initialization with normal draws of these standard deviations, and its histogram."""
    edges = np.linspace(-3.0, 3.0, 13)
    rng = np.random.default_rng(0)

    def density(std: float) -> list[float]:
        return np.histogram(rng.normal(0.0, std, 500), edges, density=True)[0].tolist()

    def curve(std: float) -> list[float]:
        return (np.exp(-((edges / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))).tolist()

    details = {
        "edges": edges.tolist(),
        "reference": density(reference),
        "port": density(port),
        "curves": {"reference": curve(reference), "port": None},
        "schemes": {"reference": f"normal, std {reference}", "port": f"normal, std {port}"},
        "mean": {"reference": 0.0, "port": 0.0},
        "std": {"reference": reference, "port": port},
        "test": "std",
        "n": 500,
        "smallest": "a factor of 1.09",
    }
    named = {"contract": "initialization", "measured": 0.3, "allowed": 1e-8, "policy": "p-value of std", **values}
    return at(path, details=details, **named)


CUDA = replace(HOLDS, device="cuda", contract="", status="skip", measured=None, allowed=None, message="no cuda here")
SITES = at("wte.weight", contract="tied gradients", details={"sites": {"1 (embedding)": 0.62, "2 (linear)": 0.71}})
KNOWN = at("h.0.weight", status="known", measured=0.5, message="half of it is gone (known: on purpose)")
PAIR = Report(
    (
        at("a.weight", contract="names", measured=0, allowed=0, policy=""),
        replace(HOLDS, contract="forward", message="the output agrees"),
        FAILS,
        at("b.weight", measured=math.inf, status="fail", message="b.weight: the gradient is not finite"),
        at("c.weight", measured=math.nan, status="fail", message="c.weight: the gradient is no number"),
        at("d.weight"),
        KNOWN,
        replace(KNOWN, path="h.1.weight", port_path="h.1.kernel"),
        SITES,
        replace(CUDA, device="cpu", contract="training", message="no optimizer can be expressed"),
        drawn("a.weight", 1.0, 0.5, status="fail", measured=1e-30, message="reference: normal", cause="std"),
        drawn("b.weight", 1.0, 1.0),
        drawn("c.weight", 1.0, 1.0),
        CUDA,
    ),
    {"alpha": 1e-6, "tests": 21},
)
MODELS = Report(
    (
        Result("mlp", "torch", "cpu", "forward", "", "pass", 4.2e-8, 6.6e-6),
        Result("mlp", "nnx", "cpu", "forward", "", "pass", 4.2e-8, 6.6e-6),
        Result("mlp", "nnx", "cpu", "ties", "2.weight", "fail", 1, 0, "2.weight: the tie is lost"),
        Result("", "", "cuda", "", "", "skip", None, None, "cuda is not present"),
    )
)
NOTHING = Report(())
SKIPPED = Report((CUDA, replace(CUDA, device="cpu", contract="forward", message="no map")))
HURT = {"sites": {NASTY: 0.5}, "schemes": {"reference": NASTY}, "test": NASTY, "smallest": NASTY}
HOSTILE = Report(
    tuple(
        replace(
            drawn(NASTY, 1.0, 0.5, status=status),
            **dict.fromkeys(("model", "message", "policy", "cause", "module"), NASTY),
            contract=contract,
            details={**drawn(NASTY, 1.0, 0.5).details, **HURT},
        )
        for contract in ("initialization", "gradients")
        for status in ("pass", "fail", "known", "skip")
    ),
    {NASTY: NASTY},
)
EVERY = {"pair": PAIR, "models": MODELS, "nothing": NOTHING, "skipped": SKIPPED, "hostile": HOSTILE}
every = pytest.mark.parametrize("report", EVERY.values(), ids=EVERY)

TEXT = """\
tiny [torch -> nnx]
  gradients: transposed in 'a'
  gradients: b.weight: the gradient is not finite
  gradients: c.weight: the gradient is no number
  initialization: std

gradients: 3 failures in 6 paths
  a.weight (= a.kernel): the gradient is transposed
    path     a.weight = a.kernel
    measured 1.4
    allowed  7.6e-06 (32 eps sqrt(4 tensors), eps of float32 1.2e-07)
    cause    transposed
    module   'a' = 'a'
  b.weight: the gradient is not finite
    path     b.weight = b.kernel
    measured inf
    allowed  7.6e-06 (32 eps sqrt(4 tensors), eps of float32 1.2e-07)
  c.weight: the gradient is no number
    path     c.weight = c.kernel
    measured nan
    allowed  7.6e-06 (32 eps sqrt(4 tensors), eps of float32 1.2e-07)

initialization: 1 failure in 3 paths
  reference: normal
    path     a.weight = a.kernel
    measured p 1e-30
    allowed  > 1e-08 (p-value of std)
    cause    std

contract        paths   worst path  measured  allowed  result
names           1                   0         0        pass
forward                             1e-07     7.6e-06  pass
gradients       3 of 6  b.weight    inf       7.6e-06  fail
tied gradients  1       wte.weight  1e-07     7.6e-06  pass
training                                               skip
initialization  1 of 3  a.weight    p 1e-30   > 1e-08  fail

known: gradients at h.0.weight = h.0.kernel and 1 more: half of it is gone (known: on purpose)

skipped: training: no optimizer can be expressed
skipped: no cuda here

initialization: 3 parameters tested by 21 tests; for a right port the chance that any of them fails is 1e-06;
the smallest difference that would have been found: a factor of 1.09
5 contracts of tiny (torch -> nnx; cpu; float32): 2 do not hold, 3 hold; 2 known differences; 1 skipped"""


def test_the_text_of_a_pair() -> None:
    assert to_text(PAIR, 110) == TEXT


def test_a_narrow_terminal_has_lines_of_their_own_for_a_contract() -> None:
    lines = to_text(PAIR, 44).splitlines()
    start = lines.index("gradients: fail (3 of 6)")
    assert lines[start + 1 : start + 3] == ["  worst b.weight", "  measured inf, allowed 7.6e-06"]
    assert max(map(len, lines)) <= 44
    # Every number is whole, wherever the lines end.
    assert [word for word in " ".join(lines).split() if word == "1.2e-07)"] == ["1.2e-07)"] * 3


def test_a_number_keeps_its_per_cent() -> None:
    report = Report((replace(FAILS, message=f"{'a ' * 18}10 % of it"),))
    assert "  10 % of it" in to_text(report, 41).splitlines()


def test_a_long_path_is_cut_in_the_table_and_whole_in_the_paragraph() -> None:
    path = ".".join(["encoder", *["layers"] * 12, "attention.weight"])
    lines = to_text(Report((replace(FAILS, path=path, port_path=""), at("b.weight"))), 80).splitlines()
    (row,) = [line for line in lines if line.startswith("gradients  1 of 2")]
    assert row == "gradients  1 of 2  encoder.lay...ers.attention.weight  1.4       7.6e-06  fail"
    assert len(max(lines[lines.index(row) - 1 :], key=len)) == 80
    assert f"    path     {path}" in lines


def test_settings_are_named_where_there_are_several() -> None:
    lines = to_text(Report((HOLDS, replace(FAILS, precision="bfloat16", device="cuda"))), 110).splitlines()
    assert " ".join(lines[-5].split()) == "device precision contract paths worst path measured allowed result"
    assert "gradients [cuda, bfloat16]: 1 failure in 1 path" in lines
    assert lines[-1] == ("2 contracts of tiny (torch -> nnx; cpu, cuda; float32, bfloat16): 1 does not hold, 1 holds")


def test_a_thousand_failures_are_folded() -> None:
    many = [
        at(f"h.{n}.weight", status="fail", measured=1.0, cause="eps" if n % 4 else "", message="m") for n in range(1000)
    ]
    report = Report(tuple(many))
    lines = to_text(report, 110).splitlines()
    assert len(lines) < 30
    assert "  ... and 997 more of gradients, by cause: eps 748, unknown 249" in lines
    with pytest.raises(ContractFailure) as caught:
        report.raise_for_failure()
    assert str(caught.value) == (
        "expected all contracts to hold, found 1000 that do not:\n"
        + "tiny [torch -> nnx, cpu] gradients: m\n" * 3
        + "... and 997 more of gradients, by cause: eps 748, unknown 249."
    )
    assert report.to_html().count("<article ") == 6


def test_what_holds_says_so() -> None:
    assert Report((HOLDS, KNOWN)).summary == (
        "1 contract of tiny (torch -> nnx; cpu; float32): 1 differs as declared; 1 known difference"
    )
    assert Report((HOLDS,)).summary == "1 contract of tiny (torch -> nnx; cpu; float32): all hold"
    assert SKIPPED.summary == "nothing was checked; 1 skipped"
    assert to_text(SKIPPED, 80).splitlines()[-4:-2] == ["skipped: no cuda here", "skipped: forward: no map"]


def test_the_text_of_reference_models() -> None:
    assert str(MODELS) == (
        "model  device  contract  wings      measured  allowed  result\n"
        "mlp    cpu     forward   torch nnx  4.2e-08   6.6e-06  pass\n"
        "mlp    cpu     ties      nnx        1         0        fail\n"
        "       cuda                                            skip\n"
        "\n"
        "mlp [nnx, cpu] ties: 2.weight: the tie is lost\n"
        "\n"
        "skipped: cuda is not present\n"
        "3 contracts on 1 model (torch, nnx; cpu): 1 do not hold"
    )


@every
def test_no_form_gives_orders_to_a_terminal(report: Report) -> None:
    for form in (to_text(report, 80), report.to_junit(), report.to_html()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\uffff]", form)
        form.encode("utf-8")


# JSON


@every
def test_json_gives_an_equal_report_back(report: Report) -> None:
    again = Report.from_json(report.to_json())
    # Not a number is not equal to itself.
    assert repr(again.results) == repr(Report.from_json(again.to_json()).results)
    for one, other in zip(report.results, again.results, strict=True):
        same = {f.name: getattr(one, f.name) for f in fields(Result)} | {"measured": str(one.measured)}
        assert same == {f.name: getattr(other, f.name) for f in fields(Result)} | {"measured": str(other.measured)}
    assert (again.facts, again.environment, again.ok) == (report.facts, report.environment, report.ok)
    assert again.to_json() == report.to_json()
    assert again.to_html() == report.to_html()
    forms = {".json": again.to_json(), ".xml": again.to_junit(), ".html": again.to_html()}
    for ending, text in forms.items():
        assert [name for name, begins in BEGINNINGS.items() if begins.match(text.encode())] == [ending]


def test_a_report_without_nan_is_equal_to_what_is_read() -> None:
    for report in (MODELS, NOTHING, SKIPPED, Report((HOLDS, at("b", measured=-math.inf, allowed=math.inf)))):
        assert Report.from_json(report.to_json()) == report
    assert Report.from_json(MODELS.to_json()) != PAIR


def test_json_has_no_infinity() -> None:
    details = {"std": math.inf, "array": np.array([1.0, np.nan]), "each": (np.float32(0.5), np.int64(3), None, True)}
    report = Report((replace(FAILS, measured=math.nan, details=details),), {"alpha": math.inf, "where": Path("a")})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(report.to_json(), parse_constant=refuse)
    (result,) = found["results"]
    assert (result["measured"], result["not_finite"]) == (None, {"measured": "nan"})
    assert result["details"] == {"std": None, "array": [1.0, None], "each": [0.5, 3, None, True]}
    assert (found["schema"], found["ok"], found["facts"]) == (2, False, {"alpha": None, "where": "a"})
    assert found["versions"] == versions()


def test_the_documentation_lists_every_field() -> None:
    listed = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|.*$", DOCS.read_text(encoding="utf-8"), re.M))))
    found = json.loads(PAIR.to_json())
    named = {*found, *(name for result in found["results"] for name in (*result, *result["details"]))}
    assert named <= listed, named - listed


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(MODELS.to_json()), **values})


def with_result(**values: Any) -> str:
    found = json.loads(MODELS.to_json())
    found["results"][1].update(values)
    return json.dumps(found)


GIVE = " Give what `to_json` has written."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", f"report: expected JSON, found none: Expecting value: line 1 column 1 (char 0).{GIVE}"),
        ('{"schema": NaN}', f"report: expected JSON, found none: NaN is no number of JSON.{GIVE}"),
        ("[]", f"report: expected an object with results, found list.{GIVE}"),
        (
            '{"ok": true}',
            "report: expected schema 2, found none. Give what `to_json` has written; before schema 2 a report had no "
            "number: check again.",
        ),
        (
            changed(schema=3),
            "report: expected schema 2, found schema 3. Read it with the version of paritree that wrote it, or check "
            "again.",
        ),
        ('{"schema": 2}', "report: expected a field 'ok', found none."),
        (changed(ok="yes"), "report.ok: expected true or false, found str."),
        (changed(results={}), "report.results: expected a list, found dict."),
        (changed(results=[1]), "report.results[0]: expected an object, found int."),
        (
            with_result(massage=""),
            "report.results[1]: expected the fields of a result, found 'massage'. Did you mean 'message'?",
        ),
        (
            with_result(status="good"),
            "report.results[1].status: expected one of pass, fail, skip, known, found 'good'.",
        ),
        (with_result(measured=True), "report.results[1].measured: expected a number or null, found True."),
        (with_result(details=[]), "report.results[1].details: expected an object, found list."),
        (with_result(path=None), "report.results[1].path: expected a text, found NoneType."),
        (changed(results=[{"model": "mlp"}]), "report.results[0]: expected a field 'wing', found none."),
    ],
)
def test_what_is_no_report_is_refused(given: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Report.from_json(given)
    assert str(caught.value) == message


FOLLOWING = Report(
    with_consequences(
        (
            replace(HOLDS, contract="forward", status="fail", measured=0.5, cause="mask", module="'a' (A) = 'a' (A)"),
            at("a.weight", status="fail", measured=0.2, message="a.weight: the gradient differs"),
            at("b.weight", status="fail", measured=0.3, message="b.weight: the gradient differs"),
            at("c.weight", status="fail", measured=1.0, message="c.weight: there is none", cause="no gradient"),
        )
    )
)


def test_json_says_what_a_failure_follows_from_and_reads_reports_of_before() -> None:
    found = json.loads(FOLLOWING.to_json())
    assert (found["schema"], found["ok"]) == (2, False)
    assert [each["follows_from"] for each in found["results"]] == ["", "forward", "forward", ""]
    assert [each["status"] for each in found["results"]] == ["fail"] * 4
    assert Report.from_json(FOLLOWING.to_json()) == FOLLOWING
    for each in found["results"]:
        del each["follows_from"]
    old = Report.from_json(json.dumps(found))
    assert [each.follows_from for each in old.results] == [""] * 4
    with pytest.raises(UsageError, match="follows_from: expected a text, found int"):
        Report.from_json(with_result(follows_from=3))


def test_every_form_tells_what_follows_under_its_cause() -> None:
    text = to_text(FOLLOWING, 100)
    assert text.startswith(
        "tiny [torch -> nnx]: 4 failures, of which 2 only follow from another one\n"
        "  forward: mask in 'a'\n"
        "  gradients: no gradient\n"
        "\n"
        "forward: 1 failure\n"
    )
    assert "    follow   gradients: 2 failures, the worst at b.weight = b.kernel, by 0.3\n" in text
    assert "gradients: 1 failure in 3 paths, and 2 that only follow from another one\n  c.weight: there is none" in text
    assert max(map(len, to_text(FOLLOWING, 44).splitlines())) <= 44
    with pytest.raises(ContractFailure, match=r"\n  what follows: gradients: 2 failures, the worst at b.weight"):
        FOLLOWING.raise_for_failure()
    root = ET.fromstring(FOLLOWING.to_junit())
    assert [failure.attrib["message"] for failure in root.iter("failure")][1:] == [
        "follows from forward: a.weight: the gradient differs",
        "follows from forward: b.weight: the gradient differs",
        "c.weight: there is none",
    ]
    assert len([each for each in root.iter("property") if each.attrib["name"] == "follows_from"]) == 2
    first, second = parsed(FOLLOWING).iter("article")
    assert "2 failures that only follow: gradients: 2 failures, the worst at b.weight = b.kernel, by 0.3" in words(
        first
    )
    assert words(second).startswith("c.weight: there is none")


# JUnit


@every
def test_junit_counts_what_it_has(report: Report) -> None:
    root = ET.fromstring(report.to_junit().encode("utf-8"))
    cases = list(root.iter("testcase"))
    assert len(cases) == len(report.results) == int(root.attrib["tests"])
    assert len(list(root.iter("failure"))) == len(report.failures) == int(root.attrib["failures"])
    skipped = [result for result in report.results if result.status in ("skip", "known")]
    assert len(list(root.iter("skipped"))) == len(skipped) == int(root.attrib["skipped"])
    names = [
        (suite.attrib["name"], case.attrib["classname"], case.attrib["name"])
        for suite in root
        for case in suite
        if case.tag == "testcase"
    ]
    assert len(set(names)) == len(names)
    for suite in root:
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


def test_junit_says_what_failed() -> None:
    root = ET.fromstring(PAIR.to_junit().encode("utf-8"))
    assert [suite.attrib["name"] for suite in root] == ["cpu float32", "cuda float32"]
    failure = next(root.iter("failure"))
    assert failure.attrib == {"message": FAILS.message, "type": "transposed"}
    assert failure.text == (
        f"{FAILS.message}\npath: a.weight = a.kernel\nmeasured: 1.4\nallowed: 7.6e-06 ({POLICY})\n"
        "cause: transposed\nmodule: 'a' = 'a'"
    )
    case = next(case for case in root.iter("testcase") if case.find("failure") is failure)
    assert (case.attrib["classname"], case.attrib["name"]) == ("tiny.torch -> nnx.gradients", "a.weight = a.kernel")
    reasons = [skip.attrib["message"] for skip in root.iter("skipped")]
    assert reasons == [
        *["known difference: half of it is gone (known: on purpose)"] * 2,
        "no optimizer can be expressed",
        "no cuda here",
    ]


# HTML


def parsed(report: Report) -> ET.Element:
    """The page by a strict parser, which finds every element that is not closed and every letter not escaped."""
    return ET.fromstring(report.to_html().removeprefix("<!DOCTYPE html>\n"))


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@every
def test_the_page_loads_nothing_and_is_accessible(report: Report) -> None:
    root = parsed(report)
    assert not list(root.iter("script")) + list(root.iter("link")) + list(root.iter("img"))
    assert not re.search(r"https?:|@import|url\(|\son\w+=", report.to_html())
    for svg in root.iter("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg[0].tag == "title" and svg[0].text)
    for table in root.iter("table"):
        assert table.find("caption") is not None
        assert all(cell.get("scope") for cell in table.iter("th"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {link.get("href") for link in root.iter("a")} == {f"#{name}" for name in ids}


def test_a_text_stands_in_the_page_and_in_its_drawings_as_it_is() -> None:
    root = parsed(HOSTILE)
    told = "<script>alert(1)</script>]]>--&amp; \\x00\\x1b[31m\\ud800\\uffff é second line"
    for kind in ("p", "dd", "td", "th", "code", "h1", "figcaption", "title", "desc"):
        assert any(told in words(each) for each in root.iter(kind)), kind
    drawings = [svg for svg in root.iter("svg") if svg.get("role")]
    # Of each initialization its histogram, the errors of the gradients, and all shares.
    assert len(drawings) == 4 + 1 + 8
    assert all(told in words(svg) for svg in drawings)


def test_the_sections_of_the_page() -> None:
    root = parsed(PAIR)
    headings = [words(heading) for heading in root.iter("h2")]
    assert headings == [
        "What is wrong",
        "Each failure",
        "Contracts",
        "Known differences",
        "Skipped",
        "Initial distributions",
        "Gradient errors",
        "Tied gradients",
        "Statistics",
        "Environment",
    ]
    assert [words(heading) for heading in parsed(NOTHING).iter("h2")] == ["Environment"]
    assert words(next(root.iter("header"))).startswith(
        f"tiny [torch -> nnx]✕ The contracts do not hold. {PAIR.summary}."
    )
    assert "✓ The contracts hold." in words(parsed(Report((HOLDS,))))


def test_a_failure_has_cause_and_module() -> None:
    first = next(parsed(PAIR).iter("article"))
    assert words(first).startswith(
        "a.weight (= a.kernel): the gradient is transposedpatha.weight = a.kernelmeasured1.4"
    )
    assert words(first).endswith("causetransposedmodule'a' = 'a'")


def test_the_histograms_are_drawn_to_scale() -> None:
    figures = [figure for figure in parsed(PAIR).iter("figure") if figure.get("class") != "wide"]
    # The failing one first, and the two alike in one.
    assert [figure.get("class") for figure in figures] == ["failing", None]
    assert "✓ holdsb.weight and 1 alikereference: normal, std 1.0, measured std 1" in words(figures[1])
    drawing = figures[0].find("svg")
    assert drawing is not None
    assert words(drawing).startswith(
        "Initial values of a.weight = a.kernelreference: normal, std 1.0, standard deviation 1; "
        "port: normal, std 0.5, standard deviation 0.5"
    )
    paths = {path.get("class"): path.get("d") or "" for path in drawing.iter("path")}
    assert set(paths) == {"axis", "grid", "reference-area", "port-line", "reference-curve"}
    details = PAIR.results[10].details
    tops = {name: 106.0 - min(float(y) for _, y in points(paths[name])) for name in ("reference-area", "port-line")}
    expected = max(details["port"]) / max(details["reference"])
    assert tops["port-line"] / tops["reference-area"] == pytest.approx(expected, rel=0.01)
    for kind in ("reference-area", "port-line", "reference-curve"):
        assert all(0 <= x <= 300 and 0 <= y <= 128 for x, y in points(paths[kind]))


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_beside_a_constant_the_other_side_is_still_seen() -> None:
    result = drawn("a.bias", 1.0, 1.0, status="fail")
    spike = [0.0] * 6 + [1e6] + [0.0] * 5
    (figure,) = parsed(Report((replace(result, details={**result.details, "port": spike}),))).iter("figure")
    area = next(path for path in figure.iter("path") if path.get("class") == "reference-area")
    assert min(y for _, y in points(area.get("d") or "")) < 15
    both = replace(result, details={**result.details, "reference": spike, "port": spike, "curves": {}})
    (figure,) = parsed(Report((both,))).iter("figure")
    assert "No histogram: both sides are constant." in words(figure)
    # One that holds is in the table alone.
    assert not list(parsed(Report((replace(both, status="pass"),))).iter("figure"))


@pytest.mark.parametrize(
    "details",
    [
        {"edges": [0.0, 1.0], "reference": [None], "port": [1.0]},
        {"edges": [0.0, math.inf], "reference": [1.0], "port": [1.0]},
        {"edges": [1.0, 1.0], "reference": [1.0], "port": [1.0]},
        {"edges": "01", "reference": [1.0], "port": [1.0]},
        {"edges": [0.0, 1.0, 2.0], "reference": [1.0], "port": [1.0, 2.0]},
        {"schemes": None, "std": {"reference": None}},
        {"sites": {"1 (linear)": None, "2 (linear)": math.nan}},
        {"sites": {}},
    ],
)
def test_details_that_cannot_be_drawn_are_left_out(details: dict[str, Any]) -> None:
    page = parsed(Report((replace(drawn("a", 1.0, 1.0), details=details),)))
    assert not [path for path in page.iter("path") if path.get("class") == "reference-area" and path.get("d")]


def test_at_most_sixty_drawings_and_the_others_in_the_table() -> None:
    report = Report(tuple(drawn(f"h.{n}.weight", 1.0, 1.0 + n / 10) for n in range(70)))
    root = parsed(report)
    assert len(list(root.iter("figure"))) == 60
    assert "10 more, constants among them, in the table." in words(root)
    section = next(each for each in root.iter("section") if each.get("aria-labelledby") == "initialization")
    assert len(list(section.iter("tr"))) == 71


def test_the_gradient_errors_lie_where_they_are() -> None:
    (figure,) = [figure for figure in parsed(PAIR).iter("figure") if figure.get("class") == "wide"]
    crosses = [points(path.get("d") or "")[0] for path in figure.iter("path") if path.get("class") == "cross"]
    # 1.4 below the edge, and what is not finite at it; from left to right in the order of the model.
    assert crosses == sorted(crosses)
    assert [y + 4 for _, y in crosses[1:]] == [18.0, 18.0]
    (allowed,) = [path for path in figure.iter("path") if path.get("class") == "allowed"]
    limit = {y for _, y in points(allowed.get("d") or "")}
    assert len(limit) == 1
    (dot,) = figure.iter("circle")
    assert crosses[0][1] + 4 < min(limit) < float(dot.get("cy") or 0)
    assert words(dot) == "d.weight = d.kernel: 1e-07, allowed 7.6e-06, pass"
    labels = [words(label) for label in figure.iter("text")]
    assert "0" in labels
    assert any(label.startswith("1e") for label in labels)


def test_the_shares_are_bars_of_their_lengths() -> None:
    widths = [float(box.get("width") or 0) for box in parsed(PAIR).iter("rect") if box.get("class") == "share"]
    assert widths == pytest.approx([240 * 0.62 / 1.33, 240 * 0.71 / 1.33], abs=0.1)
    assert "1 (embedding) 62%, 2 (linear) 71%" in words(parsed(PAIR))


# The tree of the model

TENSORS = [
    {"path": "params.a.weight", "shape": [3, 4], "dtype": "float32", "kind": "parameter"},
    {"path": "params.a.again", "shape": [3, 4], "dtype": "float32", "kind": "parameter", "alias_of": "params.a.weight"},
    {"path": "params.b.weight", "shape": [3], "dtype": "float32", "kind": "parameter"},
    {"path": "params.c.count", "shape": [], "dtype": "int32", "kind": "buffer"},
]
WRONG = with_consequences(
    (
        replace(HOLDS, contract="forward", status="fail", measured=0.5, cause="mask", module="'a' (A) = 'a' (A)"),
        at("params.b.weight", status="fail", measured=0.2, message="the gradient differs"),
        at("params.a.weight", status="fail", measured=1.0, message="there is none", cause="no gradient"),
    )
)
SVG = "{http://www.w3.org/2000/svg}"


def trees(report: Report) -> list[ET.Element]:
    figures = parsed(report).iter("figure")
    return [svg for figure in figures if figure.get("class") == "tree" for svg in figure.iter(f"{SVG}svg")]


def test_the_tree_marks_causes_and_folds_all_else() -> None:
    (drawing,) = trees(Report(WRONG, {"tensors": TENSORS}))
    labels = [words(each) for each in drawing.iter(f"{SVG}text")]
    # The first tensor of the module that an output's failure names, and the tensor of the other one.
    assert labels == ["params", "a", "weight(3, 4)", "again(3, 4)", "b1 entry", "c1 entry", "mask and 1 more"]
    assert "params.a.weight: mask and 1 more" in words(next(drawing.iter(f"{SVG}desc")))


def test_a_report_that_holds_or_does_not_know_the_tensors_has_no_tree() -> None:
    assert trees(Report((HOLDS,), {"tensors": TENSORS})) == []
    assert trees(Report(WRONG)) == []
    assert trees(Report((replace(FAILS, path="elsewhere", module=""),), {"tensors": TENSORS})) == []


@pytest.mark.parametrize(
    "told",
    [
        "abc",
        7,
        [7, None, {}, {"path": 3, "shape": []}, {"path": "a", "shape": "33"}, {"path": "a", "shape": [-1]}],
        [{"path": "params.a.weight", "shape": [1]}] * 2 + [{"path": "x", "shape": [1], "alias_of": "gone"}],
        [{"path": NASTY, "shape": [1], "kind": NASTY}, {"path": "", "shape": []}, {"path": "..", "shape": []}],
    ],
)
def test_tensors_that_are_none_are_left_out(told: Any) -> None:
    for report in (Report(WRONG, {"tensors": told}), replace(HOSTILE, facts={"tensors": told})):
        assert parsed(report) is not None
        assert "tensors" not in words(parsed(report)).split("Environment")[-1] or told == "abc"


def test_causes_lead_to_their_failures() -> None:
    root = parsed(FOLLOWING)
    (causes,) = [each for each in root.iter("ol") if each.get("class") == "causes"]
    assert [words(each) for each in causes] == [
        "forward: mask in 'a' (2 more only follow from it)",
        "gradients: c.weight = c.kernel: no gradient",
    ]
    anchors = [link.get("href") for link in causes.iter("a")]
    assert anchors == [f"#{article.get('id')}" for article in root.iter("article")]


def test_on_a_phone_each_cell_has_its_heading() -> None:
    rows = [row for table in parsed(PAIR).iter("table") for row in table.iter("tr") if row.find("td") is not None]
    assert all(cell.get("data-name") for row in rows for cell in row.iter("td"))
    assert "thead { display: none; }" in PAIR.to_html()


def test_a_phone_scrolls_nothing_sideways(tmp_path: Path) -> None:
    results = (*PAIR.results, *WRONG, replace(FAILS, path="a.very.long.path" * 9, message="word" * 90))
    assert too_wide(Report(results, {"tensors": TENSORS, "alpha": 1e-6}).to_html(), tmp_path) == []


# A notebook


@every
def test_a_report_shows_itself_in_a_notebook(report: Report) -> None:
    root = ET.fromstring(report._repr_html_())
    assert not list(root.iter("script"))
    assert words(root).count("holds") or not report.results or not report.ok


def test_a_notebook_has_causes_and_folds_what_follows() -> None:
    root = ET.fromstring(FOLLOWING._repr_html_())
    told = [words(each) for each in root.iter("p")]
    assert told[0] == "tiny [torch -> nnx] ✕ does not hold"
    assert told[1] == f"{FOLLOWING.summary}."
    assert told[2].startswith("✕ forward: mask in 'a'")
    assert words(next(root.iter("summary"))) == "2 that only follow from it"
    rows = [[words(cell) for cell in row.iter("td")] for row in root.iter("tr")]
    assert ["forward", "✕ fails", "", "", "0.5", "7.6e-06"] in rows
    many = Report(tuple(at(f"{n}.weight", status="fail", measured=1.0) for n in range(15)))
    assert "and 3 more, which print and to_html() tell" in words(ET.fromstring(many._repr_html_()))
    assert "Not checked, for 2 reasons" in words(ET.fromstring(PAIR._repr_html_()))
