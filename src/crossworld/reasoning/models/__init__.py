"""Language models behind one small protocol (`protocol.LanguageModel`), one file per kind."""
