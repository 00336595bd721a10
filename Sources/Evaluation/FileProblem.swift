import Emission
import Execution
import Recurrences

extension DrawnProblem {
  /// The problem that a user's safetensors file holds, as `sluice run` reads it.
  ///
  /// - Throws: a sentence for what does not fit, and for gates and parameters outside their domain:
  ///   beyond it the recurrence promises nothing that could be verified.
  init(file: String, for manifest: KernelManifest, _ subject: Subject) throws {
    let given = try RunFiles.read(file, for: manifest)
    name = file
    shape = given.shape
    inputs = Dictionary(
      uniqueKeysWithValues: manifest.inputs.map {
        ($0.name, $0.type.unpacked(given.bytes[$0.name] ?? []))
      })
    scale = manifest.type.sums.rounded(subject.defaultScale)
    initialState = given.initialState.map(manifest.type.sums.unpacked)
    wantsFinalState = true
  }
}
