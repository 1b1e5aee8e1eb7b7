"""What a killed training goes on from: its state, written from time to time while it goes on, and its log.

A state holds the trainable parameters, AdamW's moments, the mean of weights that are averaged, and the number of steps. Nothing else
has to be kept: batches, and so the positions of the sampler and of a mixture, are functions of seed and step; so is the learning rate; and
the generators are seeded anew from seed, step and position before every micro-batch.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import raystilts
from raystilts.process import owner
from raystilts.store import Store

STATE = "state.safetensors"
PARAMETER, MEAN, LOG = "parameter", "mean", "log"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # AdamW's, absent where a parameter has had no gradient yet

Tell = Callable[[Mapping[str, Any]], None]
"""Is given each line of a log when it is written."""


@dataclass(frozen=True)
class Saving:
    """Where a training's state is kept and how often it is written: every so many minutes, and every `steps` steps.

    key: the stage's, which names the state in the store. parent: the hash of its parent's weights: a parent that was deleted and trained
    again need not have the same.
    """

    store: Store
    key: str
    minutes: float = 10.0
    steps: int | None = None
    parent: str = ""

    @property
    def folder(self) -> Path:
        """Where the state is on this machine."""
        return self.store.progress(self.key)


@dataclass(frozen=True)
class State:
    """How far a training was. resumed_at: where it went on, the last time from here; log: the text of its log until now.

    refused: why a file that is there was left alone.
    """

    step: int = 0
    seconds: float = 0.0
    resumed_at: tuple[int, ...] = ()
    log: str = ""
    refused: str = ""


def restore(
    saving: Saving | None, network: nn.Module, optimizer: torch.optim.Optimizer, world_size: int, means: dict[str, Tensor]
) -> State:
    """Put what was saved into parameters, optimiser and means; step 0 where there is nothing that this training can go on from.

    All workers read the file, and go on from it only if all have read the same.
    """
    parameters = dict(_trained(network))
    state, tensors = _read(saving, parameters, world_size)
    if world_size > 1:
        steps: list[Any] = [None] * world_size
        dist.all_gather_object(steps, state.step)
        if len(set(steps)) > 1:
            state, tensors = State(refused=f"the workers have read states of different steps, {steps}"), {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            what, _, of = name.partition(":")
            parameter = parameters[of]
            if what == PARAMETER:
                parameter.copy_(tensor)
            elif what == MEAN:
                means[of] = tensor.to(parameter.device, copy=True)
            else:
                optimizer.state[parameter][what] = tensor.to(parameter.device, copy=True)
    return state


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters of what is not frozen."""
    return ((name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad)


def _identity(saving: Saving, parameters: Iterable[nn.Parameter], world_size: int) -> dict[str, object]:
    """What has to be the same for a training to go on from a state as if nothing had happened."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    here = {"device": next(iter(parameters)).device.type, "world_size": world_size, "raystilts": raystilts.__version__}
    return {"key": saving.key, "parent": saving.parent, **here, **versions}


def _read(saving: Saving | None, parameters: Mapping[str, nn.Parameter], world_size: int) -> tuple[State, dict[str, Tensor]]:
    """What is in the file, if it is whole and of this very training."""
    if saving is None:
        return State(), {}
    path = saving.folder / STATE
    try:
        saving.store.obtain(path)
        if not path.is_file():
            return State(), {}
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            identity = _identity(saving, parameters.values(), world_size)
            differing = [name for name, value in identity.items() if facts["identity"].get(name) != value]
            if differing:
                return State(refused=f"{path}: another {', '.join(differing)}"), {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        log = tensors.pop(LOG).numpy().tobytes().decode()
        state = State(facts["step"], facts["seconds"], (*facts["resumed_at"], facts["step"]), log)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        return State(refused=f"{path}: {type(error).__name__}: {error}"), {}
    if not _fits(tensors, parameters):
        return State(refused=f"{path}: its parameters are not the network's"), {}
    return state, tensors


def _fits(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> bool:
    """Whether these are all parameters, each with all of its moments or none, all with their mean or none, and nothing else."""
    known = sum(f"{MEAN}:{name}" in tensors for name in parameters)
    if known not in (0, len(parameters)):
        return False
    for name, parameter in parameters.items():
        found = {what: tensors[f"{what}:{name}"] for what in (PARAMETER, *MOMENTS) if f"{what}:{name}" in tensors}
        known += len(found)
        if PARAMETER not in found or len(found) not in (1, 1 + len(MOMENTS)):
            return False
        if any(what != "step" and (value.shape, value.dtype) != (parameter.shape, parameter.dtype) for what, value in found.items()):
            return False
    return known == len(tensors)


class Saver:
    """Writes states while the training goes on: the copy is made between two steps, the file by a thread. As a context it waits for it.

    A state that cannot be written is a line in the log; the last good one stays.
    """

    def __init__(
        self,
        saving: Saving | None,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        world_size: int,
        log: Any,
        before: State,
        means: Mapping[str, Tensor],
    ) -> None:
        self.saving = saving if log else None  # the log is the first worker's, and so are the states
        self.network, self.optimizer, self.world_size, self.log, self.before = network, optimizer, world_size, log, before
        self.means = means
        self.thread: threading.Thread | None = None
        self.failed: dict[str, Any] = {}
        self.last = time.monotonic()
        if self.saving:
            for left in self.saving.folder.glob(".*.partial"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None) -> None:
        if self.thread:
            self.thread.join()
        self._tell()

    def after(self, step: int, seconds: float) -> None:
        """Begin to write a state, if it is time to and the one before has been written."""
        if self.saving is None or (self.thread and self.thread.is_alive()):
            return
        self._tell()
        if (self.saving.steps and step % self.saving.steps == 0) or time.monotonic() - self.last >= 60 * self.saving.minutes:
            self.last = time.monotonic()
            identity = _identity(self.saving, self.network.parameters(), self.world_size)
            facts = {"identity": identity, "step": step, "seconds": seconds, "resumed_at": self.before.resumed_at}
            self.thread = threading.Thread(target=self._write, args=(step, self._copied(), {"facts": json.dumps(facts)}), name="state")
            self.thread.start()

    def _copied(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, parameter in _trained(self.network):
            values = {PARAMETER: parameter.detach()} | self.optimizer.state.get(parameter, {})
            values |= {MEAN: self.means[name]} if name in self.means else {}
            found |= {f"{what}:{name}": value.to("cpu", copy=True).contiguous() for what, value in values.items()}
        self.log.flush()
        return found | {LOG: torch.frombuffer(bytearray(Path(self.log.name).read_bytes()), dtype=torch.uint8)}

    def _write(self, step: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Write aside, then rename: a file of this name is whole."""
        assert self.saving is not None  # noqa: S101  for the type checker
        folder = self.saving.folder
        aside = folder / f".{owner()}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, aside, metadata)
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(folder / STATE)
            self.saving.store.share(folder / STATE)
        except Exception as error:  # whatever it is, the training does not need the state
            self.failed = {"event": "state not written", "step": step, "reason": f"{type(error).__name__}: {error}"}
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def _tell(self) -> None:
        if self.failed:
            write_line(self.log, self.failed)
            self.failed = {}


def begin(log: Any, before: State, facts: Mapping[str, Any], tell: Tell | None = None) -> None:
    """The first line of a log; or what a killed training had logged when its state was written, and that it goes on from there."""
    if log:
        log.write(before.log)
    if tell:
        for line in before.log.splitlines():
            tell(json.loads(line))
    write_line(log, {"event": "resume", "step": before.step, **facts} if before.step else {"event": "start", **facts})
    if before.refused:
        write_line(log, {"event": "state refused", "reason": before.refused})


def write_line(log: Any, facts: Mapping[str, Any], tell: Tell | None = None) -> None:
    """One line of the log, where there is one (rank 0), and of who wants to be told."""
    if log:
        log.write(json.dumps(facts, sort_keys=True) + "\n")
    if tell:
        tell(facts)
