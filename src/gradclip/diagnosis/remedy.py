"""Remedies, and how to apply them: as overrides of our command, as Lightning code, as plain torch code."""

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Loop = Literal["command", "lightning", "torch"]  # what trains: our command, a Trainer, or the user's own loop


@dataclass(frozen=True)
class How:
    """How to apply a remedy, in three forms; a form is empty if there is nothing to type.

    ``how + other`` applies both.

    Attributes:
        command: overrides of our command.
        lightning: lines of code for a Lightning Trainer and its module.
        torch: lines of code for a plain torch loop.

    Example:
        >>> (clip_norm("2") + decay_rate()).command
        ('clip=norm', 'clip.value=2', 'schedule=warmup_cosine')
    """

    command: tuple[str, ...] = ()
    lightning: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()

    def __add__(self, other: "How") -> "How":
        return How(self.command + other.command, self.lightning + other.lightning, self.torch + other.torch)


@dataclass(frozen=True)
class Remedy:
    """A change to try, with its reason.

    Attributes:
        what: the change, in a few words.
        why: the reason, with numbers.
        how: how to apply it.
    """

    what: str
    why: str
    how: How = How()

    @property
    def changes(self) -> tuple[str, ...]:
        """The overrides of our command that apply the remedy."""
        return self.how.command

    def changes_any(self, groups: Collection[str]) -> bool:
        """Return whether an override changes a setting in one of these groups, such as ``optimizer``."""
        return any(re.split("[.=]", change.lstrip("+~"))[0] in groups for change in self.changes)

    @property
    def has_one_setting(self) -> bool:
        """Whether a command can start the remedy as a single training run, rather than as several thresholds."""
        return bool(self.changes) and not any("," in change for change in self.changes)

    @property
    def overrides(self) -> str:
        """The overrides as typed, with ``-m`` for several thresholds; ``what`` if there are no overrides."""
        several = ["-m"] if self.changes and not self.has_one_setting else []
        return " ".join([*several, *self.changes]) or self.what

    @property
    def cause(self) -> str:
        """The former name of ``why``, from version 0.1."""
        return self.why

    def lines(self, loop: Loop) -> Sequence[str]:
        """Return the lines to type in one of the three forms; none if that form is empty."""
        if loop == "command":
            return [shlex.join(self.changes)] if self.changes else []
        return self.how.lightning if loop == "lightning" else self.how.torch


def clip_norm(threshold: str) -> How:
    """Clip by the global norm; several thresholds, separated by commas, are tried one after the other."""
    several = f"  # for max_norm in ({threshold.replace(',', ', ')})" if "," in threshold else ""
    value = "max_norm" if several else threshold
    return How(
        ("clip=norm", f"clip.value={threshold}"),
        (f"Trainer(gradient_clip_val={value}){several}",),
        (f"torch.nn.utils.clip_grad_norm_(model.parameters(), {value}){several}",),
    )


def clip_value(threshold: str) -> How:
    """Clip each element."""
    return How(
        ("clip=value", f"clip.value={threshold}"),
        (f'Trainer(gradient_clip_val={threshold}, gradient_clip_algorithm="value")',),
        (f"torch.nn.utils.clip_grad_value_(model.parameters(), {threshold})",),
    )


def clip_each_tensor(threshold: str) -> How:
    """Clip each tensor by its own norm."""
    return How(
        ("clip=parameter_norm", f"clip.value={threshold}"),
        (f"Trainer(callbacks=[gradclip.ClipGradients(gradclip.ParameterNorm({threshold}))])",),
        (
            "for parameter in model.parameters():",
            f"    torch.nn.utils.clip_grad_norm_(parameter, {threshold})",
        ),
    )


def normalize(length: str) -> How:
    """Give every gradient the same norm."""
    return _by_clipper("normalize", length, f"gradclip.Normalize({length})")


def clip_auto(percentile: int) -> How:
    """Clip at a percentile of the most recent norms."""
    return _by_clipper("auto", f"{percentile}", f"gradclip.Auto({percentile})")


def _by_clipper(method: str, value: str, clipper: str) -> How:
    """Clip by a method that neither Lightning nor torch provides."""
    return How(
        (f"clip={method}", f"clip.value={value}"),
        (f"Trainer(callbacks=[gradclip.ClipGradients({clipper})])",),
        (f"watch = gradclip.watch(model, optimizer, clipper={clipper})",),
    )


def no_clipping() -> How:
    """Turn clipping off."""
    return How(("clip=none",), ("Trainer(gradient_clip_val=None)",), ("# remove the call of clip_grad_norm_",))


def learning_rate(rate: str) -> How:
    """Train at another learning rate."""
    code = f"lr={rate}  # argument of the optimizer"
    return How((f"optimizer.lr={rate}",), (f"{code}, in configure_optimizers()",), (code,))


def scale_rate(factor: str) -> How:
    """Multiply the learning rate, whose value is not known, by a factor."""
    code = ("for group in optimizer.param_groups:", f'    group["lr"] *= {factor}')
    return How((), code, code)


def adam() -> How:
    """Train with Adam at its authors' learning rate."""
    name = "torch.optim.Adam"
    return How(
        ("optimizer=adam",),
        (f"optimizer = {name}(self.parameters())  # in configure_optimizers()",),
        (f"optimizer = {name}(model.parameters())",),
    )


def decay_rate() -> How:
    """Let the learning rate decay."""
    code = "torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)"
    return How(
        ("schedule=warmup_cosine",),
        (
            f"schedule = {code}",
            'lr_scheduler = {"scheduler": schedule, "interval": "step"}  # return it from configure_optimizers()',
        ),
        (f"schedule = {code}", "schedule.step()  # after each optimizer.step()"),
    )


def standardize_target() -> How:
    """Scale the target to zero mean and unit variance."""
    code = ("target = (target - train_target.mean()) / train_target.std()",)
    return How(("data.scale_target=standard",), code, code)


def bounded_loss() -> How:
    """Train with a loss whose derivative is bounded."""
    code = ("loss = torch.nn.functional.huber_loss(prediction, target)",)
    return How(("loss=huber",), code, code)


def epochs(count: int) -> How:
    """Train for a number of epochs."""
    return How((f"trainer.max_epochs={count}",), (f"Trainer(max_epochs={count})",), (f"for epoch in range({count}):",))


def default_initialization() -> How:
    """Use the initial weights of torch."""
    code = ("layer.reset_parameters()  # for each layer, instead of another initialization",)
    return How(("model.initialization=pytorch",), code, code)


def epsilon(value: str) -> How:
    """Set the constant that Adam adds to its denominator."""
    code = f"eps={value}  # argument of the optimizer"
    return How((f"optimizer.eps={value}",), (f"{code}, in configure_optimizers()",), (code,))


def other_network() -> How:
    """Train the network that comes with the command."""
    return How(("model=mlp",))


def unscale() -> How:
    """Unscale gradients before they are measured."""
    code = "scaler.unscale_(optimizer)  # before the norm is measured and clipped"
    return How((), ("monitor = gradclip.GradientMonitor()  # measures unscaled gradients",), (code,))


def log_norm_before_clipping() -> How:
    """Log the norm before clipping."""
    return How(
        (),
        ("monitor = gradclip.GradientMonitor()  # logs grad/norm and grad/norm_clipped",),
        ("norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)  # returns the norm before clipping",),
    )
