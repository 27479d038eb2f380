"""One process for each library, doing the same lines of work in turn.

lines           the work: targets, step sizes, numbers of chains; numpy alone, so that every environment reads it
environment     the isolated environment of the others
serving         what parent and worker say to one another, and the clock
ours, with_blackjax, with_torchebm      the lines in each library's own terms
"""
