"""The command line, one file a noun.

    main         the root command, errors to exit statuses
    framework    what every command wears: --json, an example in its help, aliases, lazy loading
    console      the server as a command sees it
    output       rendering: JSON, tables, states, times
    follow       progress of panes until they settle
    running      up, down, status, and the processes themselves: serve, work
    checkup      doctor
    layout, pane, agent, job, events, container, template, profile, completion    a noun each

It speaks to the server through `tower.client` and knows ids by `tower.addresses`.
"""
