"""What the runtimes share: facts come with the first command, and every command runs as they say."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tower.benches import OUTPUT_LIMIT, Completed, Facts, Input
from tower.benches import facts as facts_of
from tower.config import Settings
from tower.errors import TmuxUnavailable

_SH_HINT = "bench {name} did not run /bin/sh, which the tower needs in a bench: {cause}"


class UserBench(ABC):
    """A bench whose commands run with the facts of its user."""

    runtime: str

    def __init__(self, container_id: str, name: str, settings: Settings) -> None:
        self.container_id = container_id
        self.name = name
        self.settings = settings

    def run(self, argv: Sequence[str], *, stdin: Input = b"", deadline: float, limit: int = OUTPUT_LIMIT) -> Completed:
        """As in `Bench`; a bench never seen tells its facts in the same breath."""
        facts = self._known(deadline)
        if facts is None:
            return self._introduce(argv, stdin, deadline, limit)[1]
        words = [facts.tmux, *argv[1:]] if argv[0] == "tmux" else argv
        try:
            return self._execute(words, facts_of.environment_of(facts), stdin, deadline, limit)
        except TmuxUnavailable:
            facts_of.forget(self._folder, self.container_id)
            raise

    def facts(self, deadline: float) -> Facts:
        """As in `Bench`."""
        return self._known(deadline) or self._introduce((), b"", deadline, OUTPUT_LIMIT)[0]

    def tmux_command(self) -> list[str]:
        """As in `Bench`; `run` puts the absolute path in."""
        name = self.settings.tmux.socket_name
        return ["tmux", "-u", *(["-L", name] if name else [])]

    def _known(self, deadline: float) -> Facts | None:
        facts = facts_of.recall(self._folder, self.container_id, self._start(deadline))
        return facts and replace(facts, environment=self._own_environment(deadline))

    def _introduce(self, argv: Sequence[str], stdin: Input, deadline: float, limit: int) -> tuple[Facts, Completed]:
        words, variables = facts_of.introducing(argv), self._first_environment(deadline)
        done = self._execute(words, variables, stdin, deadline, limit)
        facts, output = facts_of.told(done.stdout)
        if facts is None:
            raise TmuxUnavailable(reason=_SH_HINT.format(name=self.name, cause=_last_line(done)))
        if not facts.tmux:
            raise TmuxUnavailable(reason=f"there is no tmux in bench {self.name}")
        facts_of.remember(self._folder, self.container_id, self._start(deadline), facts)
        facts = replace(facts, environment=self._own_environment(deadline))
        return facts, done._replace(stdout=output)

    @property
    def _folder(self) -> Path:
        return self.settings.run_dir / "facts"

    @abstractmethod
    def _execute(
        self, argv: Sequence[str], variables: Mapping[str, str], stdin: Input, deadline: float, limit: int
    ) -> Completed:
        """Run a command in the bench with exactly these variables beside the container's own."""

    @abstractmethod
    def _start(self, deadline: float) -> str:
        """A word that is another one after each start of the bench."""

    @abstractmethod
    def _first_environment(self, deadline: float) -> Mapping[str, str]:
        """The variables for the script that finds the facts."""

    @abstractmethod
    def _own_environment(self, deadline: float) -> Mapping[str, str]:
        """The container's own variables."""


def _last_line(done: Completed) -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
    return text.splitlines()[-1][:300] if text else f"exit status {done.status}"
