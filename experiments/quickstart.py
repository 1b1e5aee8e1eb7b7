"""Does training on facts about the world in English help to read names in languages that an encoder was never aligned with?

The whole method in miniature, on real words and without any download: the names of places, languages, scripts, currencies and cities in
Unicode's CLDR (see raystilts/tasks/cldr.py). Two small encoders, nano and micro, are made on the spot: random weights and a tokenizer
trained on the training names of all languages, then aligned with English by translation ranking. How much of a language the alignment
sees is this study's resource level, set here and not taken from the world:

    aligned: all its training names;  partly aligned: a tenth of them;  unaligned: none.

The languages of a level are spread over scripts and families. Intermediate tasks are English pairs: is this currency used in this
territory? is this language official there? Targets are trained in English and tested in all languages on entities that nothing was
trained on: the kind of a name, the kinds of the names in a list, and the English name for a local one (without training).

Nothing here is tuned to show a gain.
"""

from dataclasses import replace

from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.study import Study
from raystilts.tasks import cldr

LEVELS = {
    **dict.fromkeys(("de", "ru", "ar", "hi", "zh", "tr", "sw", "ta", "qu"), "aligned"),
    **dict.fromkeys(("id", "bn", "te", "yo", "az", "ka", "am", "jv"), "partly aligned"),
    **dict.fromkeys(("ml", "gu", "pa", "ur", "my", "kk", "wo", "zu"), "unaligned"),
}
SHARE = {"aligned": 1.0, "partly aligned": 0.1, "unaligned": 0.0}

ALIGNMENT = cldr.alignment({language: SHARE[level] for language, level in LEVELS.items()})
ALIGNING = Recipe(learning_rate=1e-3, num_steps=160, batch_size=128, max_length=32, dropout=0.0)

RECIPES = {
    "default": Recipe(learning_rate=3e-4, head_learning_rate=3e-3, num_epochs=6, max_length=64, pooling="mean"),
    "list": Recipe(learning_rate=3e-4, head_learning_rate=3e-3, num_epochs=10, batch_size=16, micro_batch_size=8, max_length=96),
}


def encoder(name: str, num_layers: int, hidden_size: int) -> Encoder:
    """An encoder of XLM-R's architecture, small enough for a laptop's processor."""
    return Encoder(
        name,
        architecture=Architecture(num_layers, hidden_size, hidden_size // 32, 4 * hidden_size, vocab_size=6000),
        texts=cldr.TEXTS,
        pretraining=((ALIGNMENT, ALIGNING),),
    )


def study() -> Study:
    """Two encoders x (none, currency, official) x (kind, list, name) x seeds 1-3."""
    return Study(
        name="quickstart",
        question="Do English intermediate tasks help to read names in languages that an encoder was never aligned with, and does it scale?",
        encoders=(encoder("nano", 2, 128), encoder("micro", 3, 192)),
        intermediates=(cldr.CURRENCY, cldr.OFFICIAL),
        targets=(cldr.KIND, cldr.LIST, cldr.NAME),
        seeds=(1, 2, 3),
        recipes=RECIPES,
        levels=LEVELS,
        level_order=("unaligned", "partly aligned", "aligned"),
        level_note="Resource level is how much of a language the encoders' alignment with English saw: all of its training names (aligned),"
        " a tenth (partly aligned) or none (unaligned). It is set by the study, not taken from the world.",
    )


def smoke() -> Study:
    """The same shape in seconds, for tests: tiny encoders, few steps, seven languages. Its results mean nothing."""
    small = replace(ALIGNING, num_steps=4, batch_size=32)
    short = {name: replace(recipe, num_steps=6, batch_size=16) for name, recipe in RECIPES.items()}

    def tiny(name: str, hidden_size: int) -> Encoder:
        made = encoder(name, 1, hidden_size)
        return replace(made, pretraining=((ALIGNMENT, small),))

    return replace(
        study(),
        name="quickstart-smoke",
        encoders=(tiny("pico", 32), tiny("nano", 64)),
        intermediates=(cldr.CURRENCY,),
        seeds=(1, 2),
        recipes=short,
        languages=("de", "sw", "te", "wo", "zu", "ml", "yo"),
    )
