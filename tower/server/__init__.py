"""The front-end: one process that reads requests from a Unix socket, answers reads, and writes and enqueues work.

    main.py        `tower serve`
    listener.py    the socket file, and who comes in; connection.py: one client; loop.py: the selector loop
    framing.py     bytes to lines; requests.py: a line to a request
    dispatch.py    a line in, a line out: method, answer, errors
    pool.py        threads for what writes or looks into a bench; waiting.py: answers that wait for a job or a scan
    methods.py     the registry: each method once, served in two namespaces; served.py: the modules that fill it
    layouts.py     the managed methods of layouts; panes.py: those of panes; fields.py: what methods have in common
    scope.py       what a peer inside a bench may name
    views.py       rows to wire: the hot reads; cursors.py: the opaque place where a list goes on
    app_*.py       the app.* methods around them, in AgentTower's shapes
    scans.py       looks at the benches that clients share; uploads.py: texts that come in parts
"""
