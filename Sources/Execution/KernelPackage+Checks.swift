import Emission
import Recurrences
import Schedules
import Targets

extension KernelPackage {
  /// Everything that can be known to be wrong without loading the library.
  func check() throws(SluiceError) {
    try checkName()
    try checkSizes()
    try checkDigest(of: source, manifest.sourceDigest, "source")
    try checkDigest(of: library, manifest.libraryDigest, "library")
  }

  /// The name becomes paths and symbols, so it must be one that Sluice gives, and this kernel's.
  private func checkName() throws(SluiceError) {
    guard !manifest.name.contains("/"), !manifest.name.contains("\0"),
      let name = KernelName(manifest.name)
    else {
      throw damaged("'\(manifest.name)' is no kernel's name")
    }
    let agreements: [(String, Bool)] = [
      ("recurrence", name.recurrence == manifest.recurrence.name),
      ("key size", name.key == manifest.key),
      ("value size", name.value == manifest.value),
      ("element type", name.type == manifest.type),
      ("gate type", name.gateType == manifest.gateType),
      ("target", name.target == manifest.target),
      ("plan", name.plan == manifest.plan),
      ("number of tokens between snapshots", name.snapshotEvery == manifest.snapshotEvery),
    ]
    if let wrong = agreements.first(where: { !$0.1 }) {
      throw damaged("its \(wrong.0) is not the one in the name \(manifest.name)")
    }
  }

  /// What fixes how much memory is read and written must follow from the recurrence.
  private func checkSizes() throws(SluiceError) {
    let expected: KernelManifest
    do {
      let specification = try KernelSpecification(
        normalForm: manifest.recurrence.normalForm(), key: manifest.key, value: manifest.value,
        type: manifest.type, gateType: manifest.gateType, target: .named(manifest.target))
      expected = KernelManifest(specification, manifest.plan)
    } catch {
      throw damaged("\(error)")
    }
    guard manifest.inputs == expected.inputs else {
      throw damaged("its inputs are not the recurrence's")
    }
    guard manifest.stateColumns == expected.stateColumns else {
      throw damaged("its state has another number of columns than the recurrence's")
    }
  }

  private func checkDigest(
    of path: String, _ digest: String?, _ what: String
  ) throws(SluiceError) {
    guard Files.isRegular(path) else {
      throw SluiceError(.badInput, "The package \(folder) has no \(what): \(path) is missing.")
    }
    guard let digest else { throw damaged("it has no digest of the \(what)") }
    let found = try asSentence { try ContentDigest.sha256(ofFile: path) }
    guard found == digest else {
      throw SluiceError(
        .badInput,
        "\(path) is not the \(what) that \(Self.manifestFile) describes. "
          + "Build the package again.",
        details: ["SHA-256 of the file: \(found)", "in the manifest: \(digest)"])
    }
  }

  private func damaged(_ reason: String) -> SluiceError {
    SluiceError(.badInput, "\(folder)/\(Self.manifestFile) is damaged: \(reason).")
  }
}
