"""An encoder with one head; vocabulary compaction; reading and writing (safetensors only, never remote code).

A checkpoint does not repeat the root encoder's embedding matrix. It holds the other weights, the head, and the rows of the embedding
matrix that training has touched since the root: of XLM-R's 250,002 rows a study touches a fraction. Training holds only the rows of
its own data (embeddings have no weight decay, so a row without a token would not have changed): the same losses with a fraction of the
parameters, optimiser state and gradient traffic.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from raystilts import architectures
from raystilts.errors import UserError
from raystilts.inside import leaves
from raystilts.record import LARGEST, sha256
from raystilts.stage import Encoder, Pooling

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
ROWS, VALUES = "embedding.rows", "embedding.values"  # of the embedding rows that differ from the root's
VOCABULARY = -1  # the width of a head that predicts pieces
SPECIAL_TOKENS = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "sentencepiece.bpe.model")


def encoder_folder(encoder: Encoder, encoders_dir: Path | None) -> Path | None:
    """The encoder's folder below `--encoders`; None for one of the Hub. Raises UserError where there is none that can be loaded."""
    if not encoder.folder:
        return None
    if leaves(encoder.folder):
        raise UserError(f"encoder {encoder.name!r}: {encoder.folder!r} is not below --encoders; name its parent with --encoders.")
    folder = (encoders_dir or Path()) / encoder.folder
    if not (folder / "config.json").is_file():
        raise UserError(
            f"encoder {encoder.name!r}: {folder} has no config.json; put an encoder folder there or name its parent with --encoders."
        )
    if not encoder.random_weights and not list(folder.glob("*.safetensors")):
        raise UserError(f"encoder {encoder.name!r}: {folder} has no *.safetensors; other weight formats are not loaded.")
    if large := next((path for path in sorted(folder.glob("*.json")) if path.stat().st_size > LARGEST), None):
        raise UserError(
            f"encoder {encoder.name!r}: {large} is larger than {LARGEST >> 20} MiB and is not read; no encoder needs that much."
        )
    return folder


def encoder_identity(encoder: Encoder, encoders_dir: Path | None) -> str:
    """What an encoder is, whatever it is called and wherever it lies: the hash of its files, or its Hub id and revision.

    With random weights it is their seed, and the same of all files but the weights.
    """
    drawn = f"random {encoder.pretraining_seed}:" if encoder.random_weights else ""
    folder = encoder_folder(encoder, encoders_dir)
    if folder is None:
        if not (encoder.hub and encoder.revision):
            raise UserError(f"encoder {encoder.name!r}: name a folder, or a Hub id and the revision (commit) to pin it to.")
        return f"{drawn}hub:{encoder.hub}@{encoder.revision}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name in ("config.json", *TOKENIZER_FILES) or (path.suffix == ".safetensors" and not drawn):
            stat = path.stat()
            digest.update(f"{path.name} {_file_hash(path, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return f"{drawn}sha256:{digest.hexdigest()}"


@lru_cache(maxsize=64)
def _file_hash(path: Path, size: int, mtime: int) -> str:
    return sha256(path)


@dataclass(frozen=True)
class Root:
    """Where a lineage's root encoder is loaded from: a folder, or a Hub id and its revision.

    random_seed: its weights are drawn with this seed and not read.
    """

    source: str
    revision: str | None = None
    random_seed: int | None = None


def _transformers() -> Any:
    """transformers without its progress bars and advice."""
    import transformers  # noqa: PLC0415

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@contextlib.contextmanager
def _read_faults(root: Root) -> Iterator[None]:
    """transformers takes a config.json that the file system fails to read for one of no kind of model: here that stays an OSError,
    which is tried again.
    """
    try:
        yield
    except ValueError as error:
        path = Path(root.source) / "config.json"
        if path.is_file() and "model_type" in json.loads(path.read_text(encoding="utf-8")):
            raise OSError(f"{path} could not be read") from error
        raise


@lru_cache(maxsize=2)
def load_root(root: Root) -> Any:
    """The root encoder, loaded once per process; never changed (`Model` copies what it trains)."""
    with _read_faults(root):
        encoder = _random_encoder(root) if root.random_seed is not None else _pretrained_encoder(root)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # heads here pool for themselves; an unused layer would only wait for gradients
    return encoder.eval()


def _pretrained_encoder(root: Root) -> Any:
    return _transformers().AutoModel.from_pretrained(
        root.source, revision=root.revision or "main", use_safetensors=True, trust_remote_code=False, dtype="float32"
    )


def _random_encoder(root: Root) -> Any:
    """An encoder of the root's config with the weights that its architecture begins pretraining with."""
    import torch  # noqa: PLC0415

    config = _transformers().AutoConfig.from_pretrained(root.source, revision=root.revision or "main", trust_remote_code=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(root.random_seed or 0)
        return _transformers().AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)


@lru_cache(maxsize=2)
def load_tokenizer(root: Root) -> Any:
    """The root encoder's tokenizer, loaded once per process."""
    with _read_faults(root):
        tokenizer = _transformers().AutoTokenizer.from_pretrained(root.source, revision=root.revision or "main", trust_remote_code=False)
    architectures.check_tokenizer(tokenizer, root.source)
    return tokenizer


@dataclass
class Model:
    """A trainable encoder over the embedding rows `rows`, and its heads.

    encoder: a transformers encoder whose embedding matrix has len(rows) rows.
    heads: one per part of what is trained: a linear layer [hidden_size, width], masked_head, or the identity where there is none.
    rows: [len(rows)] sorted piece ids that the matrix holds; index: [vocab_size] piece id -> row (-1 where absent).
    """

    encoder: nn.Module
    heads: nn.ModuleList
    rows: Tensor
    index: Tensor
    touched: Tensor  # rows that differ from the root's, before this model's own training


def build(
    root: Root, checkpoint: Path | None, pieces: Iterable[int] | None, widths: Sequence[int], seed: int | None, *, keep_head: bool
) -> Model:
    """The model that a stage works on: the root's weights, the checkpoint's above them, and heads.

    pieces: piece ids that will occur (None: all, without compaction). widths: of the heads: labels, 0 for no head, or VOCABULARY.
    seed: of new heads' initial weights; keep_head: take the checkpoint's heads instead (evaluation).
    """
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    base = load_root(root)
    full = base.get_input_embeddings().weight
    saved = load_file(checkpoint / WEIGHTS) if checkpoint else {}
    touched = saved.pop(ROWS, torch.empty(0, dtype=torch.long))
    values = saved.pop(VALUES, None)
    if pieces is not None:
        pieces = [*pieces, load_tokenizer(root).pad_token_id]  # which batches hold, also where the config names none
    rows = torch.arange(len(full)) if pieces is None else _rows(pieces, architectures.padding_row(base.config), len(full))
    matrix = full.detach()[rows].clone()
    if values is not None:
        inside, place = _positions(touched, rows)
        matrix[place] = values[inside]
    # deepcopy takes the memo's value for the full matrix instead of copying it
    encoder = copy.deepcopy(base, {id(full): nn.Parameter(matrix)})
    encoder.get_input_embeddings().num_embeddings = len(rows)
    body = {name.removeprefix("encoder."): value for name, value in saved.items() if name.startswith("encoder.")}
    if body:
        _load_body(encoder, body, checkpoint)
    heads = nn.ModuleList(_head(root, base.config, width, (seed or 0) + (place << 32)) for place, width in enumerate(widths))
    if keep_head:
        wanted = tuple(f"heads.{place}." for place, width in enumerate(widths) if width)
        kept = {name.removeprefix("heads."): value for name, value in saved.items() if name.startswith(wanted)}
        try:
            heads.load_state_dict(kept)
        except RuntimeError:
            raise UserError(f"{checkpoint}: its head is not the one that is to be read; delete the folder and run again.") from None
    index = torch.full((len(full),), -1, dtype=torch.long)
    index[rows] = torch.arange(len(rows))
    return Model(encoder, heads, rows, index, touched)


def _head(root: Root, config: Any, width: int, seed: int) -> nn.Module:
    """A new head; the global generator stays as it is."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    if width == 0:
        return nn.Identity()
    if width == VOCABULARY:
        return masked_head(root, config, seed)
    head = cast("nn.Linear", nn.utils.skip_init(nn.Linear, config.hidden_size, width))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.normal_(0.0, getattr(config, "initializer_range", 0.02), generator=torch.Generator().manual_seed(seed))
        head.bias.zero_()
    return head


def masked_head(root: Root, config: Any, seed: int) -> nn.Module:
    """The head of XLM-R's and BERT's masked language model: dense layer, GELU, layer norm, then the embedding matrix and a bias per piece.

    (states [n, hidden], matrix [vocab, hidden]) -> logits [n, vocab]. Its weights are the root's where the root's file holds such a head
    (architectures.HEADS), else they are new, and must be learned first. Raises UserError where embeddings are not of the states' size.
    """
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    width = load_root(root).get_input_embeddings().weight.shape[1]
    if width != config.hidden_size:
        raise UserError(f"{root.source}: embeddings of {width} and states of {config.hidden_size} numbers cannot be tied to mask words.")

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.utils.skip_init(nn.Linear, config.hidden_size, config.hidden_size)  # type: ignore[no-untyped-call]
            self.layer_norm = nn.LayerNorm(config.hidden_size, eps=getattr(config, "layer_norm_eps", 1e-5))
            self.bias = nn.Parameter(torch.zeros(config.vocab_size))

        def forward(self, states: Tensor, matrix: Tensor) -> Tensor:
            read = self.layer_norm(nn.functional.gelu(self.dense(states)))
            return nn.functional.linear(read, matrix, self.bias)

    head = Head()
    with torch.no_grad():
        head.dense.weight.normal_(0.0, getattr(config, "initializer_range", 0.02), generator=torch.Generator().manual_seed(seed))
        head.dense.bias.zero_()
    for names in architectures.HEADS:
        places = {
            name: f"{names[part]}.{rest}" if rest else names[part] for name in head.state_dict() for part, _, rest in [name.partition(".")]
        }
        found = _root_tensors(root, places.values())
        if len(found) == len(places):
            head.load_state_dict({name: found[place] for name, place in places.items()})
    return head


def _root_tensors(root: Root, names: Collection[str]) -> dict[str, Tensor]:
    """Those of the root file's tensors; {} for a file in several parts, and where weights are random."""
    from safetensors import safe_open  # noqa: PLC0415

    path = _transformers().utils.cached_file(root.source, WEIGHTS, revision=root.revision, _raise_exceptions_for_missing_entries=False)
    if path is None or root.random_seed is not None:
        return {}
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118


def _rows(pieces: Iterable[int], pad: int, vocab_size: int) -> Tensor:
    """Sorted distinct piece ids. All up to the padding id are kept: encoders count positions from it, so it must keep its number."""
    import torch  # noqa: PLC0415

    found = torch.zeros(vocab_size, dtype=torch.bool)
    found[: pad + 1] = True
    found[torch.as_tensor(list(pieces), dtype=torch.long)] = True
    return found.nonzero().squeeze(1)


def _positions(touched: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Places within `touched` and within `rows` of the ids that both (sorted) hold."""
    import torch  # noqa: PLC0415

    place = torch.searchsorted(rows, touched).clamp(max=len(rows) - 1)
    inside = (rows[place] == touched).nonzero().squeeze(1)
    return inside, place[inside]


def _load_body(encoder: nn.Module, body: dict[str, Tensor], checkpoint: Path | None) -> None:
    missing, unexpected = encoder.load_state_dict(body, strict=False)
    wanted = {_embedding_name(encoder)}
    if set(missing) - wanted or unexpected:
        raise UserError(f"{checkpoint}: its weights do not fit the encoder; delete the folder and run again.")


def _embedding_name(encoder: Any) -> str:
    matrix = encoder.get_input_embeddings().weight
    return next(str(name) for name, parameter in encoder.named_parameters() if parameter is matrix)


def save(model: Model, folder: Path, root: Root, checkpoint: Path | None) -> None:
    """Write a checkpoint: body, head and every embedding row that differs from the root's (see the module's text)."""
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    embedding = _embedding_name(model.encoder)
    tensors = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items() if name != embedding}
    tensors |= {f"heads.{name}": value for name, value in model.heads.state_dict().items()}
    matrix = model.encoder.get_input_embeddings().weight.detach()  # type: ignore[operator]
    rows, values = model.rows, matrix.cpu()
    if checkpoint and len(model.touched):
        before = load_file(checkpoint / WEIGHTS)[VALUES]
        kept = torch.isin(model.touched, rows, invert=True)
        rows, values = torch.cat([rows, model.touched[kept]]), torch.cat([values, before[kept]])
        order = rows.argsort()
        rows, values = rows[order], values[order]
    same = load_root(root).get_input_embeddings().weight.detach()[rows].eq(values).all(1)
    tensors |= {ROWS: rows[~same], VALUES: values[~same]}
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / WEIGHTS)


def _settled(learned: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pieces whose scores are a function of the texts.

    The trainer's order changes from run to run. With it change the scores' last digits, and which of the characters that it had dropped
    and puts back gets which score: it hands out the lowest score, that plus 0.0001, and so on. Here they all get the lowest.
    """
    lowest = min(score for _, score in learned)
    steps = [(score - lowest) / 1e-4 for _, score in learned]
    handed_out = [len(piece) == 1 and abs(step - round(step)) < 1e-3 for (piece, _), step in zip(learned, steps, strict=True)]
    return [(piece, round(lowest if given else score, 6)) for (piece, score), given in zip(learned, handed_out, strict=True)]


def num_parameters(root: Root) -> int:
    """Parameters of the whole root encoder, embedding matrix included."""
    return sum(parameter.numel() for parameter in load_root(root).parameters())


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """[batch, length, hidden], [batch, length] -> [batch, hidden]: the first token's state, or the mean over the mask."""
    if pooling == "first":
        return states[:, 0]
    weight = mask.to(states.dtype).unsqueeze(-1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def initialise(folder: Path, texts: Iterable[str], architecture: Any, seed: int) -> None:
    """Write a randomly initialised encoder of XLM-R's architecture with a unigram tokenizer trained on `texts`."""
    import torch  # noqa: PLC0415
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: PLC0415

    transformers = _transformers()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # XLM-R's numbers for the first four
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=architecture.vocab_size,
        special_tokens=special,
        unk_token="<unk>",  # noqa: S106  a token, not a password
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = json.loads(tokenizer.to_str())["model"]["vocab"][len(special) :]
    pieces = sorted(_settled(learned), key=lambda entry: (-entry[1], entry[0]))
    tokenizer.model = models.Unigram([*((token, 0.0) for token in special), *pieces], unk_id=special.index("<unk>"), byte_fallback=False)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name}_token": token for name, token in SPECIAL_TOKENS.items()},
        model_max_length=architecture.max_length,
    )
    config = transformers.XLMRobertaConfig(
        vocab_size=len(fast),
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.num_layers,
        num_attention_heads=architecture.num_heads,
        intermediate_size=architecture.intermediate_size,
        max_position_embeddings=architecture.max_length + 2,  # XLM-R counts positions from padding_idx + 1
        hidden_dropout_prob=architecture.dropout,
        attention_probs_dropout_prob=architecture.dropout,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = transformers.XLMRobertaModel(config, add_pooling_layer=False)
    encoder.save_pretrained(folder)
    fast.save_pretrained(folder)


def describe(root: Root) -> dict[str, Any]:
    """Facts of the root encoder for stage.json."""
    config = load_root(root).config
    names = {"architecture": "model_type", "layers": "num_hidden_layers", "hidden_size": "hidden_size"}
    return {ours: getattr(config, theirs) for ours, theirs in names.items()} | {"num_parameters": num_parameters(root)}
