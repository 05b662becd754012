"""Templates and launch profiles: the built-in ones, and the operator's YAML files over them.

Read on each use, so that an edit counts at once (catalog_files.py reads the files). A broken file is skipped
for everything else and told of in `Catalog.problems`; the folders are never made.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from tower import catalog_files, variables
from tower.catalog_files import PaneSpec as PaneSpec
from tower.catalog_files import Profile as Profile
from tower.catalog_files import Template as Template
from tower.config import Settings
from tower.errors import ManagedLaunchCommandNotFound, ManagedTemplateNotFound, TowerError, ValidationFailed
from tower.names import check_identifier
from tower.yaml_lines import BrokenFile
from tower.yaml_lines import Problem as Problem

log = logging.getLogger(__name__)

_MASTER: Final = PaneSpec("master", "orchestrator", "m{ordinal}")
_SLAVE: Final = PaneSpec("slave", "worker", "s{ordinal}")
BUILT_IN: Final = (
    Template("1m+2s", "main-vertical", (_MASTER, _SLAVE, _SLAVE)),
    Template("2m+2s", "tiled", (_MASTER, _MASTER, _SLAVE, _SLAVE)),
)

Named = TypeVar("Named", Template, Profile)


@dataclass(frozen=True)
class PlannedPane:
    """A pane of a layout to be."""

    slot: int
    role: str
    capability: str
    label: str
    launch_command_ref: str | None


@dataclass(eq=False)
class MissingVariable(TowerError):
    """A variable of a launch profile cannot be given to a pane: gone, set nowhere, or too large once expanded."""

    name: str
    fault: str = "is not in the env of the launch profile any more; put it back or recreate the layout"

    def __str__(self) -> str:
        return f"{self.name} {self.fault}."


@dataclass(eq=False)
class BrokenTemplate(ManagedTemplateNotFound):
    """A template of this name would be there if its file were in order."""

    text: ClassVar[str] = "Template {template_name!r} cannot be used until its file is corrected: {problem}."
    hidden: ClassVar[tuple[str, ...]] = ("problem",)
    problem: Problem


@dataclass(eq=False)
class BrokenProfile(ManagedLaunchCommandNotFound):
    """A launch profile of this name would be there if its file were in order."""

    text: ClassVar[str] = "Launch profile {profile_name!r} cannot be used until its file is corrected: {problem}."
    hidden: ClassVar[tuple[str, ...]] = ("problem",)
    problem: Problem


@dataclass(frozen=True)
class Catalog:
    """What can be named in a create, and what is wrong with the operator's files.

    The broken ones are by the names that they would have: what they say, and what their files are called.
    """

    templates: Mapping[str, Template]
    profiles: Mapping[str, Profile]
    problems: tuple[Problem, ...]
    broken_templates: Mapping[str, Problem] = field(default_factory=dict)
    broken_profiles: Mapping[str, Problem] = field(default_factory=dict)

    def template(self, name: str) -> Template:
        """The template of that name; raises ManagedTemplateNotFound."""
        if name not in self.templates:
            known = sorted(self.templates)
            if problem := self.broken_templates.get(name):
                raise BrokenTemplate(name, known, problem)
            raise ManagedTemplateNotFound(name, known)
        return self.templates[name]

    def profile(self, name: str) -> Profile:
        """The launch profile of that name; raises ManagedLaunchCommandNotFound."""
        if name not in self.profiles:
            known = sorted(self.profiles)
            if problem := self.broken_profiles.get(name):
                raise BrokenProfile(name, known, problem)
            raise ManagedLaunchCommandNotFound(name, known)
        return self.profiles[name]


def template_folder(settings: Settings) -> Path:
    """Where the operator's templates are."""
    return settings.config_dir / "managed_templates"


def profile_folder(settings: Settings) -> Path:
    """Where the operator's launch profiles are."""
    return settings.config_dir / "launch_commands"


def load(settings: Settings) -> Catalog:
    """The catalog as the files are now; a problem not told before goes to the log too."""
    found = read(settings)
    _tell(found.problems)
    return found


def read(settings: Settings) -> Catalog:
    """The catalog as the files are now; nothing goes to the log."""
    templates, no_templates = catalog_files.read_all(template_folder(settings), catalog_files.read_template)
    profiles, no_profiles = catalog_files.read_all(profile_folder(settings), catalog_files.read_profile)
    lines = variables.read(settings.env_file)[1] if settings.env_file else []
    problems = [*(error.problem for error in (*no_templates, *no_profiles)), *lines]
    known_templates = {template.name: template for template in BUILT_IN} | _by_name(templates, problems)
    known_profiles = _by_name(profiles, problems)
    broken = (_by_wanted_name(no_templates), _by_wanted_name(no_profiles))
    return Catalog(known_templates, known_profiles, tuple(problems), *broken)


def validate_template(file: Path) -> tuple[Problem, ...]:
    """What is wrong with a template's file; nothing when it can be used."""
    try:
        catalog_files.read_template(file)
    except BrokenFile as error:
        return (error.problem,)
    return ()


def validate_profile(file: Path) -> tuple[Problem, ...]:
    """What is wrong with a launch profile's file; nothing when it can be used."""
    try:
        catalog_files.read_profile(file)
    except BrokenFile as error:
        return (error.problem,)
    return ()


def plan_panes(
    template: Template,
    catalog: Catalog,
    session: str,
    label_prefix: str | None,
    overrides: Mapping[str, str],
) -> tuple[PlannedPane, ...]:
    """The panes of a layout, each with its label and launch profile.

    `overrides` maps `role:label`, the label without prefix, to a profile. Raises ValidationFailed for a label
    that is none, two equal ones or a key that matches no pane, ManagedLaunchCommandNotFound for an unknown
    profile.
    """
    if label_prefix is not None:
        check_identifier("label_prefix", label_prefix)
    labels = template.labels(session)
    _check_labels(labels, label_prefix or "")
    _check_overrides(template, labels, overrides)
    panes = []
    for slot, (spec, label) in enumerate(zip(template.panes, labels, strict=True)):
        ref = overrides.get(f"{spec.role}:{label}", spec.default_launch_command_ref)
        if ref is not None:
            catalog.profile(ref)
        panes.append(PlannedPane(slot, spec.role, spec.capability, (label_prefix or "") + label, ref))
    return tuple(panes)


def expand_env(profile: Profile, settings: Settings) -> dict[str, str]:
    """The profile's variables with each `${NAME}` replaced; raises MissingVariable."""
    values = variables.Values(settings.env_file)
    return {name: _expanded(name, text, values, settings.env_file) for name, text in profile.env.items()}


def _expanded(name: str, text: str, values: variables.Values, env_file: Path | None) -> str:
    try:
        value = variables.expand(text, values)
    except KeyError as error:
        file = env_file or "an env_file that config.yaml names"
        remedy = "set it in that file, or for `tower up`, which reads its environment after `tower down`"
        text = f"(for {name}) is set neither in the environment of `tower up` nor in {file}; {remedy}"
        raise MissingVariable(error.args[0], text) from None
    if fault := catalog_files.variable_fault(name, value):
        raise MissingVariable(name, fault)
    return value


def _by_name(found: Iterable[Named], problems: list[Problem]) -> dict[str, Named]:
    """By name; the first file of a name counts, and a further one is a problem."""
    known: dict[str, Named] = {}
    for one in found:
        first = known.setdefault(one.name, one)
        if first is not one and one.source and first.source:
            text = f"{one.name!r} is the name of {first.source.name} too, which counts; rename one of them"
            problems.append(Problem(one.source, 0, "name", text))
    return known


def _by_wanted_name(broken: Iterable[BrokenFile]) -> dict[str, Problem]:
    """By the name that a file gives itself, else by what the file is called."""
    errors = list(broken)
    stems = {error.problem.file.stem: error.problem for error in errors}
    return stems | {error.name: error.problem for error in errors if error.name}


def _check_labels(labels: tuple[str, ...], prefix: str) -> None:
    for number, label in enumerate(labels):
        check_identifier("label_prefix" if prefix else "label", prefix + label)
        if label in labels[:number]:
            raise ValidationFailed("tmux_session_name", f"it gives two panes the same label, {label!r}")


def _check_overrides(template: Template, labels: tuple[str, ...], overrides: Mapping[str, str]) -> None:
    keys = [f"{spec.role}:{label}" for spec, label in zip(template.panes, labels, strict=True)]
    for key in overrides:
        role, _, label = key.partition(":")
        for part in (role, label):
            check_identifier("launch_command_overrides", part)
        if key not in keys:
            reason = f"{key!r} matches no pane of template {template.name}; there are {', '.join(keys)}"
            raise ValidationFailed("launch_command_overrides", reason)


_told: set[Problem] = set()


def _tell(problems: Iterable[Problem]) -> None:
    """Log each problem once, and again when it comes back."""
    now = set(problems)
    for problem in sorted(now - _told, key=str):
        log.warning("%s", problem)
    _told.clear()
    _told.update(now)
