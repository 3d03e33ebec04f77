"""All SQL: one named function a query, its docstring naming the index. Callers own the transaction."""
