from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.store.filters import Contains, Filter, OneOf, Operator, Range, ValueType, parse_filter, resolve

KNOWN = {
    "facet": frozenset({ValueType.TEXT}),
    "adsorption_energy_ev": frozenset({ValueType.NUMBER}),
    "mixed": frozenset({ValueType.NUMBER, ValueType.TEXT}),
    "converged": frozenset({ValueType.BOOLEAN}),
    "never": frozenset(),
}


@pytest.mark.parametrize(
    ("text", "operator", "values"),
    [
        ("facet=100", Operator.EQ, ("100", 100)),
        ("facet == 001", Operator.EQ, ("001", 1)),
        ('facet="100"', Operator.EQ, ("100",)),
        ("facet!=001", Operator.NE, ("001", 1)),
        ("facet<-0.5", Operator.LT, ("-0.5", -0.5)),
        ("facet<=1e-3", Operator.LE, ("1e-3", 0.001)),
        (" facet > .5 ", Operator.GT, (".5", 0.5)),
        ("facet>=2026-01-01", Operator.GE, ("2026-01-01",)),
        ("facet~imid a", Operator.CONTAINS, ("imid a",)),
        ("facet~1", Operator.CONTAINS, ("1",)),
        ("facet in certified,refused", Operator.IN, ("certified", "refused")),
        ('facet in "a, b",c', Operator.IN, ("a, b", "c")),
        ("facet  not  in 1,null", Operator.NOT_IN, ("1", 1, None)),
        ("facet=null", Operator.EQ, (None,)),
        ('facet="null"', Operator.EQ, ("null",)),
        ("facet=true", Operator.EQ, ("true", True)),
        ("facet=nan", Operator.EQ, ("nan",)),
        ("facet=1e999", Operator.EQ, ("1e999",)),
        ("facet=chgnet+d3", Operator.EQ, ("chgnet+d3",)),
        ("facet=a=b", Operator.EQ, ("a=b",)),
        ("facet=1'; DROP TABLE record; --", Operator.EQ, ("1'; DROP TABLE record; --",)),
    ],
)
def test_a_filter_is_read(text: str, operator: Operator, values: tuple[object, ...]) -> None:
    read = parse_filter(text)
    assert read == Filter("facet", operator, values)  # type: ignore[arg-type]
    assert [type(value) for value in read.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    "text",
    ["", "facet", "facet 100", "=100", "facet=", "facet <", "fa cet=1", "a.b=1", "facet in", "facet in a,,b",
     "facet in a,", 'facet in "a', "facet inside", "1x=2", "facet$=1", "f;--=1"],
)  # fmt: skip
def test_what_is_no_filter_is_refused_in_one_line_with_a_remedy(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_filter(text)
    assert repr(text)[1:-1] in refusal.value.what
    assert refusal.value.remedy
    assert "\n" not in str(refusal.value)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read = parse_filter(text)
    except InputError:
        return
    assert read.values


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("facet=100", OneOf("facet", ("100", 100))),
        ("facet not in 1,a", OneOf("facet", ("1", 1, "a"), negated=True)),
        ("adsorption_energy_ev<-0.5", Range("adsorption_energy_ev", Operator.LT, -0.5)),
        ("adsorption_energy_ev!=null", OneOf("adsorption_energy_ev", (None,), negated=True)),
        ("facet<200", Range("facet", Operator.LT, "200")),
        ("mixed<200", Range("mixed", Operator.LT, 200)),
        ("mixed<b", Range("mixed", Operator.LT, "b")),
        ("never<2", Range("never", Operator.LT, 2)),
        ("never<x", Range("never", Operator.LT, "x")),
        ("facet~00", Contains("facet", "00")),
        ("never~00", Contains("never", "00")),
        ("converged=true", OneOf("converged", ("true", True))),
    ],
)
def test_the_types_of_the_field_decide_what_is_compared(text: str, condition: object) -> None:
    assert resolve(parse_filter(text), KNOWN) == condition


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'adsorption_energy_ev'"):
        resolve(parse_filter("adsorption_energy<0"), KNOWN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adsorption_energy_ev<abc", "holds numbers, and 'abc' is not one"),
        ("adsorption_energy_ev=low", "holds numbers, and 'low' is not one"),
        ("adsorption_energy_ev in low,high", "holds numbers, and 'low' is not one"),
        ("adsorption_energy_ev~5", "looks inside text"),
        ("facet<null", "nothing to compare with"),
    ],
)
def test_a_comparison_without_sense_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        resolve(parse_filter(text), KNOWN)
    assert refusal.value.remedy
