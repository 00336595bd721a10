/// Texts that hold no decision: instruction vocabularies, the runner, the Python module.
///
/// They are compiled into the program, so that a moved binary needs no folder beside it.
public enum Templates {
}
