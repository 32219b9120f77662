"""The command line: the API's verbs for callers, the fleet's verbs for operators."""
