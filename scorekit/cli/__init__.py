"""The command line, `scorekit COMMAND`: each command is one file that reads its arguments, calls the library, prints.

Exit codes: 0 done; 2 the command line is wrong in itself (an unknown command, option, recipe, sampler, metric; a value
that no run could take); 1 everything else that stops a command (a file, a checkpoint, data, a device, a missing
package); 130 Ctrl-C, 143 SIGTERM. An error is one line on stderr, `error: ...`; with SCOREKIT_TRACEBACK=1 in the
environment it is Python's traceback.

`scorekit --help` and the help of each command import no torch: files of commands import inside functions.
"""

from scorekit.cli.app import main

__all__ = ["main"]
