"""The table of what is promised about speed, each row beside its floor measured in the same run.

    run.sh        sets up what a run needs and starts it
    __main__.py   `python -m tests.benchmarks`: which rows, and the table or --json
    figures.py    a row of the table
    ground.py     a tower with benches, and what is done to it again and again
    floors.py     one engine exec, one tmux round trip, one SQLite commit, made without the product
    making.py     create, ready, running, remove
    many.py       40 layouts over 10 benches
    serving.py    reads, start of the server, the command line
    resting.py    pick-up, idle CPU, memory
    history.py    the same figures beside a tower that has 10,000 removed layouts
    reader.py     a client process that reads as fast as it can

Never a test with a clock: the machine decides, so a person reads it.
"""
