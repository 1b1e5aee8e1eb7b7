"""The languages table."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from raystilts import tasks
from raystilts.errors import UserError
from raystilts.languages import LANGUAGES, find, low_resource, members
from raystilts.tasks.tagging import XTREME_R

JOSHI = {
    5: "ar de en es fr ja zh",
    4: "eu fa fi hi hu it ko nl pl pt ru tr vi",
    3: "af bg bn el et he id ka kk lt ms ro ta th tl uk ur",
    2: "ht mr pa sw wo yo",
    1: "az gu jv ml my qu te",
}


def test_xtreme_r_languages_have_the_published_classes():
    """The 50 languages of XTREME-R have the classes of Joshi et al. 2020, and 13 of them are low-resource."""
    expected = {code: level for level, codes in JOSHI.items() for code in codes.split()}
    assert {code: LANGUAGES[code].resource_class for code in XTREME_R} == expected
    assert sum(low_resource(LANGUAGES[code]) for code in XTREME_R) == 13


def test_xlmr_saw_all_of_xtreme_r_but_four():
    """Of XTREME-R's languages XLM-R's pretraining lacks exactly ht, qu, wo, yo; CC-100's size is known for all 50."""
    assert {code for code in XTREME_R if not LANGUAGES[code].in_xlmr} == {"ht", "qu", "wo", "yo"}
    assert all(LANGUAGES[code].cc100_mb for code in XTREME_R)
    assert (LANGUAGES["yo"].cc100_mb, LANGUAGES["en"].cc100_mb) == (1.1, 82000)


def test_every_code_means_one_language():
    """No code of any scheme stands for two languages, so that `find` needs no scheme."""
    owners = Counter(
        (code, language.code)
        for language in LANGUAGES.values()
        for code in {language.code, language.iso3, language.tatoeba, language.flores} - {""}
    )
    assert not [code for code, count in Counter(code for code, _ in owners).items() if count > 1]
    for code, owner in owners:
        assert find(code).code == owner


def test_rows_have_well_formed_codes():
    """Codes have the lengths of their schemes, and the script is that of the FLORES name but for Korean."""
    for language in LANGUAGES.values():
        assert 2 <= len(language.code) <= 3
        assert len(language.iso3) == 3
        assert len(language.tatoeba) in (0, 3)
        assert language.flores == "" or language.flores[3:] in (f"_{language.script}", "_Hang")
        assert language.name
        assert language.family


@pytest.mark.parametrize("code", ["sw", "swa", "swh", "swh_Latn", "SWH_LATN"])
def test_find_resolves_every_scheme(code):
    """BCP-47, ISO 639-3, Tatoeba's and FLORES's codes all find the language, in any case of letters."""
    assert find(code) is LANGUAGES["sw"]


@pytest.mark.parametrize(("code", "hint"), [("swx", "did you mean"), ("swahilli", "'sw' (Swahili)"), ("§§", "known: af, ")])
def test_find_names_the_nearest(code, hint):
    """An unknown code is refused in one sentence that names the nearest language, or all codes where none is near."""
    with pytest.raises(UserError) as error:
        find(code)
    assert repr(code) in str(error.value)
    assert hint in str(error.value)


def test_low_resource_refuses_to_guess():
    """A language that Joshi et al. do not name is neither low- nor high-resource: an error says so."""
    with pytest.raises(UserError, match="resource class of 'luo'"):
        low_resource(LANGUAGES["luo"])
    assert low_resource(replace(LANGUAGES["luo"], resource_class=2))
    assert not low_resource(replace(LANGUAGES["luo"], resource_class=3))


def test_all_tasks_use_languages_of_the_table():
    """Every language of every task is a row of the table under its canonical code, or a pair of such."""
    assert {member for task in tasks.TASKS.values() for code in task.languages for member in code.split("--")} <= LANGUAGES.keys()


def test_pairs_have_the_lower_resources_of_both():
    """A pair is found in any scheme's codes, keeps its order, and is low-resource where one of its languages is."""
    pair = find("deu--swh_Latn")
    assert pair == find("de--sw")
    assert (pair.code, pair.name) == ("de--sw", "German-Swahili")
    assert find("sw--de") != pair
    assert pair.resource_class == 2
    assert low_resource(pair)
    assert pair.cc100_mb == 332
    assert pair.in_xlmr
    assert (find("de--en").family, pair.family) == ("Indo-European", "Indo-European-Niger-Congo")
    assert find("de--yo").in_xlmr is False
    assert find("de--luo").resource_class is None
    assert members("deu--en") == ("de", "en")
    assert members("swh") == ("sw",)
    with pytest.raises(UserError, match="there is no language 'xx'"):
        find("de--xx")
