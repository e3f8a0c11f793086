"""Everything that runs foreign code: the sandbox, and the compiler inside it.

Public names: `mlcore.toolchain.sandbox` (`Limits`, `run`, `spawn`, `kill_tree`, `isolation`, `Watch`) and
`mlcore.toolchain.compiler` (`find_compiler`, `Compiler`).
"""
