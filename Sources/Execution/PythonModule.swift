import Emission
import Targets
import Templates

/// The Python side of a package: files with the same text in every one.
package enum PythonModule {
  static let main = "__init__.py"

  private static let always = [
    "_backward.py", "_checks.py", "_field.py", "_forward.py", "_library.py", "_manifest.py",
    "_runner.py", "_step.py", "_tensors.py", "_wheel.py", "pyproject.toml",
  ]
  /// Says to type checkers that the module has types (PEP 561).
  private static let typed = "py.typed"
  private static let autograd = "autograd.py"
  private static let decode = "decode.py"
  private static let card = ["cuda.py", "_card.py", "_calls.py"]

  /// Every name that a package's Python side may have.
  static let names = always + [main, typed, autograd, decode] + card

  /// The files of one package, by name.
  package static func files(
    of manifest: KernelManifest, isForCard: Bool
  ) throws(SluiceError) -> [(name: String, text: String)] {
    var names = always
    names.append(autograd)
    if isForCard {
      names += card
    } else if manifest.step != nil {
      names.append(decode)
    }
    var files = [(typed, ""), (main, try text("package.py"))]
    for name in names { files.append((name, try text(name))) }
    return files
  }

  private static func text(_ name: String) throws(SluiceError) -> String {
    guard let text = Templates.text(name) else {
      throw SluiceError(.internal, "\(name) of the Python module is not part of this build.")
    }
    return text
  }
}
