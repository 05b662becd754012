"""Templates and launch profiles: what counts, what is refused, and how that is told."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tower import catalog, errors, variables
from tower.config import Settings

NAMED = "name: mine\n"
ONE_PANE = "panes: [{role: shell, capability: terminal, label_pattern: sh}]\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(config_dir=tmp_path / "config", state_dir=tmp_path / "state", socket_path=tmp_path / "s")


def write(folder: Path, name: str, text: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def template(settings: Settings, text: str, name: str = "t.yaml") -> Path:
    return write(catalog.template_folder(settings), name, text)


def profile(settings: Settings, text: str | bytes, name: str = "p.yaml") -> Path:
    return write(catalog.profile_folder(settings), name, text)


def labels(found: catalog.Template, known: catalog.Catalog) -> list[str]:
    return [pane.label for pane in catalog.plan_panes(found, known, "work", None, {})]


def test_built_ins_need_no_folder_and_make_none(settings: Settings) -> None:
    known = catalog.load(settings)
    assert labels(known.template("1m+2s"), known) == ["m1", "s1", "s2"]
    assert labels(known.template("2m+2s"), known) == ["m1", "m2", "s1", "s2"]
    assert not known.problems
    assert not settings.config_dir.exists()


def test_the_operators_file_wins_and_an_edit_counts_at_once(settings: Settings) -> None:
    file = template(settings, "name: 1m+2s\n" + ONE_PANE)
    assert len(catalog.load(settings).template("1m+2s").panes) == 1
    file.write_text("name: 1m+2s\n" + ONE_PANE.replace("sh}", "zz}"))
    known = catalog.load(settings)
    assert labels(known.template("1m+2s"), known) == ["zz"]
    file.unlink()
    assert len(catalog.load(settings).template("1m+2s").panes) == 3


def test_an_old_file_is_read_again_only_when_it_changed(settings: Settings) -> None:
    file = profile(settings, NAMED + "command: [one]\n")
    for command in ("one", "two"):
        file.write_text(NAMED + f"command: [{command}]\n")
        os.utime(file, (1, 1))
        assert catalog.load(settings).profile("mine").command == (command,)


def test_labels_know_ordinal_session_and_role(settings: Settings) -> None:
    pane = '{role: %s, capability: c, label_pattern: "%s"}'
    panes = [
        pane % ("a", "{role}{ordinal}"),
        pane % ("b", "{session}-{ordinal}"),
        pane % ("a", "{role}{ordinal}"),
    ]
    template(settings, NAMED + f"panes: [{', '.join(panes)}]\n")
    known = catalog.load(settings)
    assert labels(known.template("mine"), known) == ["a1", "work-1", "a2"]


BROKEN_TEMPLATES = [
    (NAMED + "panes: []\n", 2, "panes", "1 to 16"),
    (
        NAMED + "panes: [" + "{role: a, capability: b, label_pattern: 'a{ordinal}'}," * 17 + "]\n",
        2,
        "panes",
        "17",
    ),
    (NAMED + "arrangement: mian\n" + ONE_PANE, 2, "arrangement", "main-vertical"),
    (NAMED + ONE_PANE.replace(": sh}", ": 'sh{nr}'}"), 2, "panes[0].label_pattern", "{nr}"),
    (NAMED + ONE_PANE.replace(": sh}", ": 'a b'}"), 2, "panes[0].label_pattern", "a b"),
    (NAMED + ONE_PANE.replace("shell", "'a:b'"), 2, "panes[0].role", "A-Z"),
    (NAMED + ONE_PANE.replace("shell", "7"), 2, "panes[0].role", "expected text"),
    (NAMED + "panes:\n- {role: a, capability: b}\n", 3, "panes[0]", "label_pattern"),
    (NAMED + "colour: red\n" + ONE_PANE, 2, "colour", "arrangement"),
    (ONE_PANE, 1, "", "name"),
    ("name: ' a'\n" + ONE_PANE, 1, "name", "blanks"),
]


@pytest.mark.parametrize(("text", "line", "field", "hint"), BROKEN_TEMPLATES)
def test_a_broken_template_is_told_by_file_line_and_field(
    settings: Settings, text: str, line: int, field: str, hint: str
) -> None:
    file = template(settings, text)
    (problem,) = catalog.load(settings).problems
    assert (problem.file, problem.line, problem.field) == (file, line, field)
    assert hint in problem.text
    assert catalog.validate_template(file) == (problem,)


def test_two_panes_of_one_label_are_refused(settings: Settings) -> None:
    pane = "- {role: a, capability: b, label_pattern: same}\n"
    file = template(settings, NAMED + "panes:\n" + pane + pane)
    (problem,) = catalog.validate_template(file)
    assert (problem.line, problem.field) == (4, "panes[1].label_pattern")


def test_a_session_of_any_name_makes_no_two_labels_equal(settings: Settings) -> None:
    pane = '{role: a, capability: c, label_pattern: "%s"}'
    fine = template(settings, NAMED + f"panes: [{pane % '{session}'}, {pane % 'session'}, {pane % 's'}]\n")
    assert catalog.validate_template(fine) == ()
    long = template(settings, NAMED + f"panes: [{pane % ('{session}' + 'x' * 63)}]\n")
    assert catalog.validate_template(long) == ()
    twice = template(settings, NAMED + f"panes: [{pane % '{session}{ordinal}'}, {pane % '{session}1'}]\n")
    (problem,) = catalog.validate_template(twice)
    assert problem.field == "panes[1].label_pattern"


def test_names_that_the_tower_adds_to_the_environment_are_set_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUPERVISOR_ENABLED", "TOWER_STOP_SECONDS"):
        monkeypatch.setenv(name, "1")
        with pytest.raises(KeyError):
            variables.expand(f"${{{name}}}", variables.Values(None))


BROKEN_PROFILES: list[tuple[str | bytes, int, str, str]] = [
    (NAMED + "command: claude --model opus\n", 2, "command", "list of words"),
    (NAMED + "command: []\n", 2, "command", "empty"),
    (NAMED + "command: ['']\n", 2, "command", "empty"),
    (NAMED + "command: ['-x']\n", 2, "command[0]", "begin with -"),
    (NAMED + "command: [a, 1]\n", 2, "command[1]", "expected text"),
    (NAMED + 'command: [a, "\\0"]\n', 2, "command[1]", "NUL"),
    (NAMED + 'command: [a, "\\ud800"]\n', 2, "command[1]", "half of a character"),
    (NAMED + f"command: [a, {'x' * 127 * 1024}]\n", 2, "command[1]", "130048"),
    (NAMED + f"command: [a]\nenv: {{A: {'x' * (127 * 1024 - 2)}}}\n", 3, "env.A", "130048"),
    (NAMED + "command: [a]\nenv:\n  PORT: 80\n", 4, "env.PORT", "quotes"),
    (NAMED + "command: [a]\nenv:\n  1A: b\n", 4, "env.1A", "letters"),
    (NAMED + 'command: [a]\nenv:\n  A: "b\\0"\n', 4, "env.A", "NUL"),
    (NAMED + "command: [a]\nworking_dir: ~/x\n", 3, "working_dir", "home"),
    (NAMED + "name: b\n", 2, "", "twice"),
    ("name: [\n", 2, "", "not YAML"),
    ("- a\n", 1, "", "mapping"),
    (b"", 1, "", "mapping"),
    (b"a: 1\nb: \xff\n", 2, "", "UTF-8"),
    (b"a: 1\nb: \x01\n", 2, "", "character"),
    ("[" * 5000, 0, "", "nested"),
    ("a: !!python/name:os.system x\n", 1, "", "not YAML"),
]


SECRETS = [
    "env: {API_TOKEN: *s3cr3t}",
    "env: {API_TOKEN: !s3cr3t x}",
    "env: {API_TOKEN: !s3cr3t!x y}",
    "env: {API_TOKEN: !<s3cr3t> y}",
    "env: {A: &s3cr3t x, API_TOKEN: &s3cr3t y}",
    'env: {"API_TOKEN=s3cr3t": x}',
    'env: {"API_TOKEN=s3cr3t": x, "API_TOKEN=s3cr3t": y}',
    '"API_TOKEN=s3cr3t": x',
    "env: {API_TOKEN: !!int s3cr3t}",
    "env: {API_TOKEN: !!bool s3cr3t}",
    "env: {API_TOKEN: !!timestamp s3cr3t}",
    "env: {API_TOKEN: !!binary s3cr3t}",
    "env: {API_TOKEN: !!float s3cr3t}",
    "env: {API_TOKEN: [s3cr3t]}",
    "env: {API_TOKEN: {{ s3cr3t }}}",
    "env: {API_TOKEN: 's3cr3t}",
    "env: {API_TOKEN: %s3cr3t}",
    "env: {API_TOKEN: @s3cr3t}",
    "env: API_TOKEN=s3cr3t",
    "env: {API_TOKEN: *s3cr3t!x}",
    "env: {TMUX: s3cr3t}",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_problem_tells_no_secret(settings: Settings, line: str) -> None:
    (problem,) = catalog.validate_profile(profile(settings, NAMED + f"command: [a]\n{line}\n"))
    assert "s3cr3t" not in str(problem)


def test_a_value_that_needs_quotes_is_told_so(settings: Settings) -> None:
    for mark in "*!&":
        text = NAMED + f"command: [a]\nenv:\n  A: {mark}x y\n  B: {mark}x\n"
        (problem,) = catalog.validate_profile(profile(settings, text))
        assert problem.line in (4, 5)
        assert "put quotes around it" in problem.text


def test_a_name_that_is_none_is_shown_as_far_as_it_is_one(settings: Settings) -> None:
    (problem,) = catalog.validate_profile(profile(settings, NAMED + 'command: [a]\nenv: {"A_B=c": x}\n'))
    assert problem.field == "env.A_B…"


@pytest.mark.parametrize(("line", "by"), [("", "broken"), ("", "mine"), ("name: [", "broken")])
def test_a_broken_file_is_not_told_as_a_missing_one(settings: Settings, line: str, by: str) -> None:
    file = profile(settings, NAMED + line + "\ncommand: ls -l\n", "broken.yaml")
    template(settings, NAMED + line + "\npanes: []\n", "broken.yaml")
    known = catalog.load(settings)
    with pytest.raises(errors.ManagedLaunchCommandNotFound) as raised:
        known.profile(by)
    assert raised.value.code == "managed_launch_command_not_found"
    assert raised.value.details == {"profile_name": by, "known_profiles": []}
    assert f"{file}:" in raised.value.message
    assert "There is no" not in raised.value.message
    with pytest.raises(errors.ManagedTemplateNotFound, match=r"managed_templates/broken.yaml:\d") as other:
        known.template(by)
    assert other.value.details == {"template_name": by, "known_templates": ["1m+2s", "2m+2s"]}
    with pytest.raises(errors.ManagedTemplateNotFound, match="There is no template 'other'"):
        known.template("other")


@pytest.mark.parametrize(("text", "line", "field", "hint"), BROKEN_PROFILES)
def test_a_broken_profile_is_told_by_file_line_and_field(
    settings: Settings, text: str | bytes, line: int, field: str, hint: str
) -> None:
    file = profile(settings, text)
    profile(settings, "name: fine\ncommand: [true]\n".replace("true", "'true'"), "z.yaml")
    known = catalog.load(settings)
    (problem,) = known.problems
    assert (problem.file, problem.line, problem.field) == (file, line, field)
    assert hint in problem.text
    assert list(known.profiles) == ["fine"]


@pytest.mark.parametrize(
    "name", "TMUX TMUX_PANE PWD OLDPWD IFS PPID OPTIND SHLVL _ LINENO RANDOM PS1 TOWER_X PS2 SHELLOPTS".split()
)
def test_names_that_others_set_are_refused(settings: Settings, name: str) -> None:
    (problem,) = catalog.validate_profile(profile(settings, NAMED + f"command: [a]\nenv: {{{name}: x}}\n"))
    assert problem.field == f"env.{name}"


def test_one_name_in_two_files_is_told_and_the_first_counts(settings: Settings) -> None:
    profile(settings, NAMED + "command: [first]\n", "a.yaml")
    second = profile(settings, NAMED + "command: [second]\n", "b.yaml")
    known = catalog.load(settings)
    assert known.profile("mine").command == ("first",)
    assert [problem.file for problem in known.problems] == [second]


def test_what_is_no_yaml_file_does_not_hang_the_reader(settings: Settings) -> None:
    folder = catalog.profile_folder(settings)
    (folder / "folder.yaml").mkdir(parents=True)
    os.mkfifo(folder / "fifo.yaml")
    (folder / "nowhere.yaml").symlink_to("nothing")
    profile(settings, NAMED, "old.yml")
    profile(settings, NAMED, "README.md")
    found = {problem.file.name for problem in catalog.load(settings).problems}
    assert found == {"folder.yaml", "fifo.yaml", "nowhere.yaml", "old.yml"}


def test_overrides_go_by_role_and_label_without_prefix(settings: Settings) -> None:
    profile(settings, NAMED + "command: [a]\n")
    known = catalog.load(settings)
    planned = catalog.plan_panes(known.template("1m+2s"), known, "work", "b-", {"slave:s2": "mine"})
    assert [(pane.label, pane.launch_command_ref) for pane in planned] == [
        ("b-m1", None),
        ("b-s1", None),
        ("b-s2", "mine"),
    ]


@pytest.mark.parametrize(
    "key", ["s2", "slave:s3", "slave:b-s2", "slave:", ":s2", "slave:s 2", "slave:s2:x", "a" * 65]
)
def test_an_override_that_matches_no_pane_is_refused(settings: Settings, key: str) -> None:
    known = catalog.load(settings)
    with pytest.raises(errors.ValidationFailed) as raised:
        catalog.plan_panes(known.template("1m+2s"), known, "work", None, {key: "mine"})
    assert raised.value.field == "launch_command_overrides"


def test_a_default_profile_that_does_not_exist_is_found(settings: Settings) -> None:
    template(settings, NAMED + ONE_PANE.replace(": sh}", ": sh, default_launch_command_ref: nowhere}"))
    known = catalog.load(settings)
    with pytest.raises(errors.ManagedLaunchCommandNotFound):
        catalog.plan_panes(known.template("mine"), known, "work", None, {})


def test_a_label_too_long_with_its_prefix_is_refused(settings: Settings) -> None:
    known = catalog.load(settings)
    catalog.plan_panes(known.template("1m+2s"), known, "work", "x" * 62, {})
    with pytest.raises(errors.ValidationFailed) as raised:
        catalog.plan_panes(known.template("1m+2s"), known, "work", "x" * 63, {})
    assert raised.value.field == "label_prefix"


def test_references_are_looked_up_in_environment_then_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "env", "FROM_FILE='f $x'\nBOTH=file\n")
    monkeypatch.setenv("BOTH", "environment")
    monkeypatch.delenv("FROM_FILE", raising=False)
    text = 'env: {A: "${FROM_FILE}-${BOTH}", B: "$BOTH $${BOTH} ${a-b} ${}"}\n'
    profile(settings, NAMED + "command: [a]\n" + text)
    known = Settings(
        config_dir=settings.config_dir,
        state_dir=settings.state_dir,
        socket_path=tmp_path / "s",
        env_file=file,
    )
    found = catalog.expand_env(catalog.load(known).profile("mine"), known)
    assert found == {"A": "f $x-environment", "B": "$BOTH $environment ${a-b} ${}"}
    file.write_text("FROM_FILE=new\n")
    assert catalog.expand_env(catalog.load(known).profile("mine"), known)["A"] == "new-environment"


def test_a_missing_reference_is_named_and_values_never_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE_SET", raising=False)
    profile(settings, NAMED + 'command: [a]\nenv: {A: "hush-${NOWHERE_SET}"}\n')
    found = catalog.load(settings).profile("mine")
    with pytest.raises(catalog.MissingVariable) as raised:
        catalog.expand_env(found, settings)
    assert raised.value.name == "NOWHERE_SET"
    assert "hush" not in raised.value.message + repr(raised.value) + repr(found)


def test_a_value_too_large_once_expanded_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE", "x" * 100_000)
    profile(settings, NAMED + 'command: [a]\nenv: {A: "${LARGE}${LARGE}"}\n')
    with pytest.raises(catalog.MissingVariable, match="200002 bytes"):
        catalog.expand_env(catalog.load(settings).profile("mine"), settings)


ENV_LINES = [
    ("A=b", "b"),
    ("export A = b c # comment", "b c"),
    ("A=b#c", "b#c"),
    ("A=", ""),
    ("A=''", ""),
    ("A='b # \"c\\n'  # comment", 'b # "c\\n'),
    ('A="b\\n\\"c\\" \\$d"', 'b\n"c" $d'),
    ("A=b\r", "b"),
]


@pytest.mark.parametrize(("line", "value"), ENV_LINES)
def test_lines_of_an_env_file(tmp_path: Path, line: str, value: str) -> None:
    file = write(tmp_path, "env", f"# first\n\n{line}\n")
    assert variables.read(file) == ({"A": value}, [])


@pytest.mark.parametrize("line", ["hush", "=hush", "1A=hush", "A='hush", 'A="hush', "A='b' hush", "A hush=c"])
def test_a_bad_line_of_an_env_file_is_told_without_its_text(tmp_path: Path, line: str) -> None:
    values, (problem,) = variables.read(write(tmp_path, "env", f"B=c\n{line}\n"))
    assert values == {"B": "c"}
    assert problem.line == 2
    assert "hush" not in problem.text


@given(st.text(st.characters(exclude_characters="'\n\r\0", exclude_categories=["Cs"]), max_size=40))
def test_single_quotes_keep_any_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = write(tmp_path_factory.mktemp("env"), "env", f"A='{text}'\n")
    assert variables.read(file)[0] == {"A": text}


def test_the_examples_are_in_order() -> None:
    examples = Path(__file__).parents[2] / "examples"
    templates = sorted((examples / "managed_templates").glob("*.yaml"))
    profiles = sorted((examples / "launch_commands").glob("*.yaml"))
    assert len(templates) >= 4
    assert len(profiles) >= 5
    assert [problem for file in templates for problem in catalog.validate_template(file)] == []
    assert [problem for file in profiles for problem in catalog.validate_profile(file)] == []
