"""kvmrun: a direct QEMU launcher for one Linux host.

The map of the house. Imports only point down; neighbours on a floor never import each other.

    5  cli                        words -> one command; the only error boundary
    4  commands                   one module per subcommand: HELP, configure(), run()
    3  host   monitor   ui        change this machine / talk to guests / show people
    2  plan   config   export     guest + facts -> steps / text -> model / model -> other languages
    1  model                      frozen values, standard library only
    0  errors   light             everything kvmrun can say no with / the standard library without what it drags along
"""

__version__ = "0.1.0"
