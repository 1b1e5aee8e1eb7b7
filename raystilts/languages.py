"""One row per language: its codes in the schemes that data sets use, and how much text of it there is."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raystilts.errors import UserError

LOW_RESOURCE = 2
"""The highest class of Joshi et al. (2020) that counts as low-resource."""


@dataclass(frozen=True, slots=True)
class Language:
    """code: shortest BCP-47 tag, the canonical one. iso3: ISO 639-3, the macrolanguage's where data sets use that (swa, ara).

    script: ISO 15924, the one that XLM-R and the benchmarks use. resource_class: 0 (fewest resources) to 5, Joshi et al. (2020),
    None where that list does not name the language. in_xlmr: seen in XLM-R's pretraining. cc100_mb: compressed size in CC-100, MB;
    None where unknown or absent. tatoeba: XXX of the files tatoeba.XXX-eng. flores: name in FLORES-200 and SIB-200. "" where a
    scheme lacks the language.
    """

    code: str
    name: str
    family: str
    script: str
    resource_class: int | None
    in_xlmr: bool
    cc100_mb: float | None
    iso3: str
    tatoeba: str
    flores: str


_INDO, _AFRO, _CONGO, _TURKIC, _AUSTRO = "Indo-European", "Afro-Asiatic", "Niger-Congo", "Turkic", "Austronesian"
_URALIC, _DRAVIDIAN, _SINO, _CREOLE = "Uralic", "Dravidian", "Sino-Tibetan", "Creole"

_TABLE = (
    # code, name, family, script, class, in XLM-R, CC-100 MB, iso3, tatoeba, flores
    ("af", "Afrikaans", _INDO, "Latn", 3, True, 305, "afr", "afr", "afr_Latn"),
    ("ak", "Akan", _CONGO, "Latn", 1, False, None, "aka", "", "aka_Latn"),
    ("am", "Amharic", _AFRO, "Ethi", 2, True, None, "amh", "amh", "amh_Ethi"),
    ("ar", "Arabic", _AFRO, "Arab", 5, True, 5400, "ara", "ara", "arb_Arab"),
    ("as", "Assamese", _INDO, "Beng", 1, True, None, "asm", "", "asm_Beng"),
    ("ast", "Asturian", _INDO, "Latn", 1, False, None, "ast", "ast", "ast_Latn"),
    ("ay", "Aymara", "Aymaran", "Latn", 1, False, None, "aym", "", "ayr_Latn"),
    ("az", "Azerbaijani", _TURKIC, "Latn", 1, True, 1300, "aze", "aze", "azj_Latn"),
    ("ba", "Bashkir", _TURKIC, "Cyrl", 1, False, None, "bak", "", "bak_Cyrl"),
    ("bbj", "Ghomala", _CONGO, "Latn", None, False, None, "bbj", "", ""),
    ("be", "Belarusian", _INDO, "Cyrl", 3, True, None, "bel", "bel", "bel_Cyrl"),
    ("bg", "Bulgarian", _INDO, "Cyrl", 3, True, 9300, "bul", "bul", "bul_Cyrl"),
    ("bm", "Bambara", _CONGO, "Latn", 1, False, None, "bam", "", "bam_Latn"),
    ("bn", "Bengali", _INDO, "Beng", 3, True, 860, "ben", "ben", "ben_Beng"),
    ("bo", "Tibetan", _SINO, "Tibt", 1, False, None, "bod", "", "bod_Tibt"),
    ("br", "Breton", _INDO, "Latn", 1, True, None, "bre", "bre", ""),
    ("bs", "Bosnian", _INDO, "Latn", 3, True, None, "bos", "bos", "bos_Latn"),
    ("bzd", "Bribri", "Chibchan", "Latn", None, False, None, "bzd", "", ""),
    ("ca", "Catalan", _INDO, "Latn", 4, True, None, "cat", "cat", "cat_Latn"),
    ("ceb", "Cebuano", _AUSTRO, "Latn", 3, False, None, "ceb", "ceb", "ceb_Latn"),
    ("ckb", "Central Kurdish", _INDO, "Arab", 1, False, None, "ckb", "", "ckb_Arab"),
    ("cni", "Asháninka", "Arawakan", "Latn", None, False, None, "cni", "", ""),
    ("cs", "Czech", _INDO, "Latn", 4, True, None, "ces", "ces", "ces_Latn"),
    ("cy", "Welsh", _INDO, "Latn", 1, True, None, "cym", "cym", "cym_Latn"),
    ("da", "Danish", _INDO, "Latn", 3, True, None, "dan", "dan", "dan_Latn"),
    ("de", "German", _INDO, "Latn", 5, True, 18000, "deu", "deu", "deu_Latn"),
    ("dz", "Dzongkha", _SINO, "Tibt", 1, False, None, "dzo", "", "dzo_Tibt"),
    ("ee", "Ewe", _CONGO, "Latn", 1, False, None, "ewe", "", "ewe_Latn"),
    ("el", "Greek", _INDO, "Grek", 3, True, 7400, "ell", "ell", "ell_Grek"),
    ("en", "English", _INDO, "Latn", 5, True, 82000, "eng", "", "eng_Latn"),
    ("eo", "Esperanto", "Constructed", "Latn", 1, True, None, "epo", "epo", "epo_Latn"),
    ("es", "Spanish", _INDO, "Latn", 5, True, 14000, "spa", "spa", "spa_Latn"),
    ("et", "Estonian", _URALIC, "Latn", 3, True, 1700, "est", "est", "est_Latn"),
    ("eu", "Basque", "Isolate", "Latn", 4, True, 488, "eus", "eus", "eus_Latn"),
    ("fa", "Persian", _INDO, "Arab", 4, True, 20000, "fas", "pes", "pes_Arab"),
    ("fi", "Finnish", _URALIC, "Latn", 4, True, 15000, "fin", "fin", "fin_Latn"),
    ("fo", "Faroese", _INDO, "Latn", 1, False, None, "fao", "fao", "fao_Latn"),
    ("fon", "Fon", _CONGO, "Latn", 0, False, None, "fon", "", "fon_Latn"),
    ("fr", "French", _INDO, "Latn", 5, True, 14000, "fra", "fra", "fra_Latn"),
    ("fy", "Western Frisian", _INDO, "Latn", 1, True, None, "fry", "fry", ""),
    ("ga", "Irish", _INDO, "Latn", 2, True, None, "gle", "gle", "gle_Latn"),
    ("gd", "Scottish Gaelic", _INDO, "Latn", 1, True, None, "gla", "gla", "gla_Latn"),
    ("gl", "Galician", _INDO, "Latn", 3, True, None, "glg", "glg", "glg_Latn"),
    ("gn", "Guarani", "Tupian", "Latn", 1, False, None, "grn", "", "grn_Latn"),
    ("gu", "Gujarati", _INDO, "Gujr", 1, True, 242, "guj", "", "guj_Gujr"),
    ("ha", "Hausa", _AFRO, "Latn", 2, True, None, "hau", "", "hau_Latn"),
    ("hch", "Wixarika", "Uto-Aztecan", "Latn", None, False, None, "hch", "", ""),
    ("he", "Hebrew", _AFRO, "Hebr", 3, True, 6100, "heb", "heb", "heb_Hebr"),
    ("hi", "Hindi", _INDO, "Deva", 4, True, 2500, "hin", "hin", "hin_Deva"),
    ("hr", "Croatian", _INDO, "Latn", 4, True, None, "hrv", "hrv", "hrv_Latn"),
    ("ht", "Haitian Creole", _CREOLE, "Latn", 2, False, 9.1, "hat", "", "hat_Latn"),
    ("hu", "Hungarian", _URALIC, "Latn", 4, True, 15000, "hun", "hun", "hun_Latn"),
    ("hy", "Armenian", _INDO, "Armn", 1, True, None, "hye", "hye", "hye_Armn"),
    ("id", "Indonesian", _AUSTRO, "Latn", 3, True, 36000, "ind", "ind", "ind_Latn"),
    ("ig", "Igbo", _CONGO, "Latn", 1, False, None, "ibo", "", "ibo_Latn"),
    ("is", "Icelandic", _INDO, "Latn", 2, True, None, "isl", "isl", "isl_Latn"),
    ("it", "Italian", _INDO, "Latn", 4, True, 7800, "ita", "ita", "ita_Latn"),
    ("ja", "Japanese", "Japonic", "Jpan", 5, True, 15000, "jpn", "jpn", "jpn_Jpan"),
    ("jv", "Javanese", _AUSTRO, "Latn", 1, True, 37, "jav", "jav", "jav_Latn"),
    ("ka", "Georgian", "Kartvelian", "Geor", 3, True, 1100, "kat", "kat", "kat_Geor"),
    ("kk", "Kazakh", _TURKIC, "Cyrl", 3, True, 889, "kaz", "kaz", "kaz_Cyrl"),
    ("km", "Khmer", "Austroasiatic", "Khmr", 1, True, None, "khm", "khm", "khm_Khmr"),
    ("kn", "Kannada", _DRAVIDIAN, "Knda", 1, True, None, "kan", "", "kan_Knda"),
    ("ko", "Korean", "Koreanic", "Kore", 4, True, 14000, "kor", "kor", "kor_Hang"),
    ("ku", "Kurdish", _INDO, "Latn", 1, True, None, "kur", "kur", "kmr_Latn"),
    ("ky", "Kyrgyz", _TURKIC, "Cyrl", 1, True, None, "kir", "", "kir_Cyrl"),
    ("la", "Latin", _INDO, "Latn", 3, True, None, "lat", "lat", ""),
    ("lb", "Luxembourgish", _INDO, "Latn", 1, False, None, "ltz", "", "ltz_Latn"),
    ("lg", "Ganda", _CONGO, "Latn", 1, False, None, "lug", "", "lug_Latn"),
    ("ln", "Lingala", _CONGO, "Latn", 1, False, None, "lin", "", "lin_Latn"),
    ("lo", "Lao", "Kra-Dai", "Laoo", 2, True, None, "lao", "", "lao_Laoo"),
    ("lt", "Lithuanian", _INDO, "Latn", 3, True, 3400, "lit", "lit", "lit_Latn"),
    ("luo", "Luo", "Nilo-Saharan", "Latn", None, False, None, "luo", "", "luo_Latn"),
    ("lv", "Latvian", _INDO, "Latn", 3, True, None, "lav", "lvs", "lvs_Latn"),
    ("mg", "Malagasy", _AUSTRO, "Latn", 1, True, None, "mlg", "", "plt_Latn"),
    ("mi", "Maori", _AUSTRO, "Latn", 1, False, None, "mri", "", "mri_Latn"),
    ("mk", "Macedonian", _INDO, "Cyrl", 1, True, None, "mkd", "mkd", "mkd_Cyrl"),
    ("ml", "Malayalam", _DRAVIDIAN, "Mlym", 1, True, 831, "mal", "mal", "mal_Mlym"),
    ("mn", "Mongolian", "Mongolic", "Cyrl", 1, True, None, "mon", "mon", "khk_Cyrl"),
    ("mos", "Mossi", _CONGO, "Latn", 0, False, None, "mos", "", "mos_Latn"),
    ("mr", "Marathi", _INDO, "Deva", 2, True, 334, "mar", "mar", "mar_Deva"),
    ("ms", "Malay", _AUSTRO, "Latn", 3, True, 2100, "msa", "zsm", "zsm_Latn"),
    ("mt", "Maltese", _AFRO, "Latn", 2, False, None, "mlt", "", "mlt_Latn"),
    ("my", "Burmese", _SINO, "Mymr", 1, True, 46, "mya", "", "mya_Mymr"),
    ("nah", "Nahuatl", "Uto-Aztecan", "Latn", None, False, None, "nah", "", ""),
    ("nb", "Norwegian Bokmål", _INDO, "Latn", 1, True, None, "nob", "nob", "nob_Latn"),
    ("ne", "Nepali", _INDO, "Deva", 1, True, None, "nep", "", "npi_Deva"),
    ("nl", "Dutch", _INDO, "Latn", 4, True, 7900, "nld", "nld", "nld_Latn"),
    ("nn", "Norwegian Nynorsk", _INDO, "Latn", 1, False, None, "nno", "nno", "nno_Latn"),
    ("nso", "Northern Sotho", _CONGO, "Latn", 1, False, None, "nso", "", "nso_Latn"),
    ("ny", "Chichewa", _CONGO, "Latn", 1, False, None, "nya", "", "nya_Latn"),
    ("oc", "Occitan", _INDO, "Latn", 1, False, None, "oci", "oci", "oci_Latn"),
    ("om", "Oromo", _AFRO, "Latn", 1, True, None, "orm", "", "gaz_Latn"),
    ("or", "Odia", _INDO, "Orya", 1, True, None, "ori", "", "ory_Orya"),
    ("oto", "Otomi", "Oto-Manguean", "Latn", None, False, None, "oto", "", ""),
    ("pa", "Punjabi", _INDO, "Guru", 2, True, 90, "pan", "", "pan_Guru"),
    ("pcm", "Nigerian Pidgin", _CREOLE, "Latn", 0, False, None, "pcm", "", ""),
    ("pl", "Polish", _INDO, "Latn", 4, True, 12000, "pol", "pol", "pol_Latn"),
    ("ps", "Pashto", _INDO, "Arab", 1, True, None, "pus", "", "pbt_Arab"),
    ("pt", "Portuguese", _INDO, "Latn", 4, True, 13000, "por", "por", "por_Latn"),
    ("qu", "Quechua", "Quechuan", "Latn", 1, False, 1.5, "que", "", "quy_Latn"),
    ("rm", "Romansh", _INDO, "Latn", 1, False, None, "roh", "", ""),
    ("rn", "Rundi", _CONGO, "Latn", 1, False, None, "run", "", "run_Latn"),
    ("ro", "Romanian", _INDO, "Latn", 3, True, 16000, "ron", "ron", "ron_Latn"),
    ("ru", "Russian", _INDO, "Cyrl", 4, True, 46000, "rus", "rus", "rus_Cyrl"),
    ("rw", "Kinyarwanda", _CONGO, "Latn", 1, False, None, "kin", "", "kin_Latn"),
    ("sa", "Sanskrit", _INDO, "Deva", 2, True, None, "san", "", "san_Deva"),
    ("sd", "Sindhi", _INDO, "Arab", 1, True, None, "snd", "", "snd_Arab"),
    ("se", "Northern Sami", _URALIC, "Latn", 1, False, None, "sme", "", ""),
    ("shp", "Shipibo-Konibo", "Panoan", "Latn", None, False, None, "shp", "", ""),
    ("si", "Sinhala", _INDO, "Sinh", 1, True, None, "sin", "", "sin_Sinh"),
    ("sk", "Slovak", _INDO, "Latn", 3, True, None, "slk", "slk", "slk_Latn"),
    ("sl", "Slovenian", _INDO, "Latn", 3, True, None, "slv", "slv", "slv_Latn"),
    ("sn", "Shona", _CONGO, "Latn", 1, False, None, "sna", "", "sna_Latn"),
    ("so", "Somali", _AFRO, "Latn", 1, True, None, "som", "", "som_Latn"),
    ("sq", "Albanian", _INDO, "Latn", 1, True, None, "sqi", "sqi", "als_Latn"),
    ("sr", "Serbian", _INDO, "Cyrl", 4, True, None, "srp", "srp", "srp_Cyrl"),
    ("ss", "Swati", _CONGO, "Latn", 1, False, None, "ssw", "", "ssw_Latn"),
    ("st", "Southern Sotho", _CONGO, "Latn", 1, False, None, "sot", "", "sot_Latn"),
    ("su", "Sundanese", _AUSTRO, "Latn", 1, True, None, "sun", "", "sun_Latn"),
    ("sv", "Swedish", _INDO, "Latn", 4, True, None, "swe", "swe", "swe_Latn"),
    ("sw", "Swahili", _CONGO, "Latn", 2, True, 332, "swa", "swh", "swh_Latn"),
    ("ta", "Tamil", _DRAVIDIAN, "Taml", 3, True, 1300, "tam", "tam", "tam_Taml"),
    ("tar", "Tarahumara", "Uto-Aztecan", "Latn", None, False, None, "tar", "", ""),
    ("te", "Telugu", _DRAVIDIAN, "Telu", 1, True, 536, "tel", "tel", "tel_Telu"),
    ("tg", "Tajik", _INDO, "Cyrl", 1, False, None, "tgk", "", "tgk_Cyrl"),
    ("th", "Thai", "Kra-Dai", "Thai", 3, True, 8700, "tha", "tha", "tha_Thai"),
    ("ti", "Tigrinya", _AFRO, "Ethi", 2, False, None, "tir", "", "tir_Ethi"),
    ("tk", "Turkmen", _TURKIC, "Latn", 1, False, None, "tuk", "tuk", "tuk_Latn"),
    ("tl", "Tagalog", _AUSTRO, "Latn", 3, True, 701, "tgl", "tgl", "tgl_Latn"),
    ("tn", "Tswana", _CONGO, "Latn", 2, False, None, "tsn", "", "tsn_Latn"),
    ("to", "Tongan", _AUSTRO, "Latn", 1, False, None, "ton", "", ""),
    ("tr", "Turkish", _TURKIC, "Latn", 4, True, 5400, "tur", "tur", "tur_Latn"),
    ("ts", "Tsonga", _CONGO, "Latn", 1, False, None, "tso", "", "tso_Latn"),
    ("tt", "Tatar", _TURKIC, "Cyrl", 1, False, None, "tat", "tat", "tat_Cyrl"),
    ("tw", "Twi", _CONGO, "Latn", 1, False, None, "twi", "", "twi_Latn"),
    ("ug", "Uyghur", _TURKIC, "Arab", 1, True, None, "uig", "uig", "uig_Arab"),
    ("uk", "Ukrainian", _INDO, "Cyrl", 3, True, 14000, "ukr", "ukr", "ukr_Cyrl"),
    ("ur", "Urdu", _INDO, "Arab", 3, True, 884, "urd", "urd", "urd_Arab"),
    ("uz", "Uzbek", _TURKIC, "Latn", 3, True, None, "uzb", "uzb", "uzn_Latn"),
    ("vi", "Vietnamese", "Austroasiatic", "Latn", 4, True, 28000, "vie", "vie", "vie_Latn"),
    ("wo", "Wolof", _CONGO, "Latn", 2, False, 3.6, "wol", "", "wol_Latn"),
    ("xh", "Xhosa", _CONGO, "Latn", 2, True, None, "xho", "xho", "xho_Latn"),
    ("yi", "Yiddish", _INDO, "Hebr", 1, True, None, "yid", "yid", "ydd_Hebr"),
    ("yo", "Yoruba", _CONGO, "Latn", 2, False, 1.1, "yor", "", "yor_Latn"),
    ("zh", "Chinese", _SINO, "Hans", 5, True, 19300, "zho", "cmn", "zho_Hans"),
    ("zu", "Zulu", _CONGO, "Latn", 2, False, None, "zul", "", "zul_Latn"),
)

LANGUAGES: Mapping[str, Language] = {row[0]: Language(*row) for row in _TABLE}

_BY_CODE: Mapping[str, Language] = {
    code.lower(): language
    for language in LANGUAGES.values()
    for code in (language.code, language.iso3, language.tatoeba, language.flores)
    if code
}


PAIR = "--"
"""Stands between the two codes of a pair of languages."""

SAME_LANGUAGE, TWO_LANGUAGES = "same language", "two languages"
"""Names of the groups of pairs of one language and of two."""


def find(code: str) -> Language:
    """The language of a code in any scheme of the table, in upper or lower case; raises UserError with the nearest one otherwise.

    "de--en" is a pair, of examples whose first text is in the one language and the rest in the other: its resources are the lower of both.
    """
    if PAIR in code:
        first, _, second = code.partition(PAIR)
        return _pair(find(first), find(second))
    language = _BY_CODE.get(code.lower())
    if language is None:
        close = difflib.get_close_matches(code.lower(), _BY_CODE, n=1) or difflib.get_close_matches(code.lower(), _by_name(), n=1)
        near = _BY_CODE.get(close[0]) or _by_name()[close[0]] if close else None
        hint = f"did you mean {near.code!r} ({near.name})?" if near else f"known: {', '.join(LANGUAGES)}"
        raise UserError(f"there is no language {code!r}; {hint}")
    return language


def _pair(first: Language, second: Language) -> Language:
    """Columns that both share, the lower resources of both (None where one is not known), and no code in other schemes."""

    def shared(name: str) -> str:
        values = dict.fromkeys((getattr(first, name), getattr(second, name)))
        return "-".join(values)

    def lower(name: str) -> Any:
        values = getattr(first, name), getattr(second, name)
        return None if None in values else min(values)

    return Language(
        code=f"{first.code}{PAIR}{second.code}",
        name=f"{first.name}-{second.name}",
        family=shared("family"),
        script=shared("script"),
        resource_class=lower("resource_class"),
        in_xlmr=first.in_xlmr and second.in_xlmr,
        cc100_mb=lower("cc100_mb"),
        iso3="",
        tatoeba="",
        flores="",
    )


def members(code: str) -> tuple[str, ...]:
    """The canonical codes of a pair's two languages, or of a language alone."""
    return tuple(find(code).code.split(PAIR))


def _by_name() -> dict[str, Language]:
    return {language.name.lower(): language for language in LANGUAGES.values()}


def low_resource(language: Language) -> bool:
    """Whether the class of Joshi et al. (2020) is 0, 1 or 2; raises UserError where that list does not name the language."""
    if language.resource_class is None:
        raise UserError(f"the resource class of {language.code!r} ({language.name}) is not known: leave it out or name its level yourself.")
    return language.resource_class <= LOW_RESOURCE
