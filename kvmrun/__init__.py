"""kvmrun: a direct QEMU launcher for one Linux host.

The packages by layer. Imports only point down, and packages of one layer never import each other.

    5  cli                        from a command line to one command; the only place that prints errors
    4  commands                   one module per command: HELP, configure(), run()
    3  host   monitor   ui        changes this machine / talks to guests / shows output
    2  plan   config   export     guest + facts -> steps / text -> model / model -> files of other programs
    1  model                      frozen values, standard library only
    0  errors   light             errors with their exit codes / quick replacements for parts of the standard library

manual/ holds the pages that `kvmrun help` shows; kvmrun-internals(7) describes the design.
"""

__version__ = "0.1.0"
