import Execution
import Recurrences
import Testing

/// The folder as a Python package.
@Suite struct PythonTests {
  /// Why Python cannot be asked here; nil when it can.
  static func obstacle() async -> String? {
    let outcome = try? await Program("python3", ["-c", "import numpy"]).run(limit: .seconds(60))
    guard let outcome else { return "There is no python3 here." }
    return outcome.succeeded ? nil : "python3 has no NumPy here."
  }

  @Test func theFolderImports() async throws {
    if let obstacle = await Self.obstacle() {
      print("theFolderImports is skipped: \(obstacle)")
      return
    }
    let bench = try await PackageBench()
    // A summary beyond ASCII must be the same text in the library and in the manifest.
    var recurrence = Recurrence.gla
    recurrence.summary = "décalage \"quoted\" \\ — ≤ 0?"
    recurrence.inputs[0].summary = "π ??/"
    recurrence.inputs[1].summary = "two\nlines, and an end \\"
    let package = try await bench.package(of: recurrence)
    let program = """
      import sys
      import numpy as np
      sys.path.insert(0, sys.argv[1])
      import importlib
      kernel = importlib.import_module(sys.argv[2])
      ones = np.ones((1, 3, 1, 8), np.float32)
      o, state = kernel.forward(ones, ones, ones, 0 * ones, scale=1.0, output_final_state=True)
      assert o.shape == (1, 3, 1, 8) and state.shape == (1, 1, 8, 8)
      assert np.allclose(o[0, :, 0, 0], [8, 16, 24]) and np.allclose(state, 3)
      """
    let outcome = try await Program(
      "python3", ["-B", "-c", program, bench.folder, "gla-f32"]
    ).run(limit: .seconds(120))
    #expect(outcome.succeeded, "\(outcome.errors)")
    _ = try KernelCall(KernelPackage.open(package.folder))
  }
}
