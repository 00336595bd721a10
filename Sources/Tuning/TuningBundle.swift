import Emission
import Evaluation
import Execution
import Foundation
import Planning
import Schedules
import Targets
import Templates

/// A folder that measures candidates on another machine, without Swift, clang or Sluice.
///
/// It holds the candidates' libraries with the OpenMP runtime beside them, the cases with the
/// reference's numbers, the measuring program and its source, a script `measure`, and a manifest.
public struct TuningBundle: Hashable, Codable, Sendable {
  public static let currentFormat = "sluice-bundle-1"
  /// Of what the script prints.
  public static let resultsFormat = "sluice-results-1"
  static let manifestFile = "manifest.json"

  public var format = currentFormat
  /// SHA-256 of the manifest without it: what results must name.
  public var search = ""
  /// What is tuned; the machine is whoever measures.
  public var key: TuningKey
  public var workload: Workload
  public var compiler: String
  /// Rounds through all candidates, and what one turn is told.
  public var rounds: Int
  public var milliseconds: Int
  public var limit: Int
  public var timed: Int
  /// SHA-256 of the cases.
  public var cases: String
  public var candidates: [Candidate]

  public struct Candidate: Hashable, Codable, Sendable {
    /// The kernel's name; its library is `candidates/<kernel>.so`.
    public var kernel: String
    /// SHA-256 of the library.
    public var library: String
    public var predicted: Double
  }

  /// The same with the search's name in it.
  package func sealed() throws -> TuningBundle {
    var copy = self
    copy.search = ""
    copy.search = ContentDigest.sha256(try Emitter.json(copy))
    return copy
  }

  /// Builds the most promising candidates and writes the folder, which must not be there or be empty.
  ///
  /// - Returns: the bundle, and a sentence for each candidate that the compiler refused.
  public static func write(
    _ specification: KernelSpecification, _ workload: Workload, request: PlanRequest, count: Int,
    jobs: Int, ranker: any Ranker, to folder: String, builder: Builder,
    cache: KernelCache = KernelCache()
  ) async throws -> (bundle: TuningBundle, notices: [String]) {
    guard Files.names(in: folder).isEmpty, !Files.isRegular(folder) else {
      throw SluiceError(
        .usage, "\(folder) is there already and not empty. Give --bundle a new folder.")
    }
    var order = SearchOrder(
      try Planner(ranker: ranker).legalPlans(specification, request, workload), specification,
      workload,
      ranker)
    var chosen = order.next(min(count, Schedules.all.count))
    chosen += order.next(count - chosen.count)
    let built = try await CandidateBuilder(
      specification: specification, builder: builder, cache: cache
    ).build(chosen, jobs: jobs)
    let cases = try MeasurementCases(specification, workload)
    let program = try await RunnerProgram.measure.build(
      for: specification.target, builder: builder, cache: cache)

    let parent = Files.parent(of: folder)
    try Files.makeFolder(parent)
    let aside = try Files.makeUniqueFolder(in: parent, prefix: ".writing-")
    defer { Files.remove(aside) }
    var bundle = TuningBundle(
      key: TuningKey(specification, workload, machine: "not yet known"), workload: workload,
      compiler: builder.toolchain.version.line, rounds: Tuner.rounds,
      milliseconds: 2 * Tuner.milliseconds, limit: 60, timed: cases.timed,
      cases: ContentDigest.sha256(cases.bytes), candidates: [])
    var notices: [String] = []
    try Files.makeFolder("\(aside)/candidates")
    for candidate in built {
      switch candidate.library {
      case .failure(let error): notices.append("\(candidate.name) was left out: \(error.message)")
      case .success(let library):
        let bytes = try Files.read(library)
        let path = "\(aside)/candidates/\(candidate.name).so"
        try Files.write(bytes, to: path)
        try Files.makeExecutable(path)
        if bundle.candidates.isEmpty {
          try await OpenMPCopy(for: bytes, builder.toolchain)?.write(into: "\(aside)/candidates")
        }
        bundle.candidates.append(
          Candidate(
            kernel: candidate.name.description, library: ContentDigest.sha256(bytes),
            predicted: candidate.candidate.predicted))
      }
    }
    guard !bundle.candidates.isEmpty else {
      throw SluiceError(.toolchain, "No candidate could be built.", details: notices)
    }
    bundle = try bundle.sealed()
    try Files.write(cases.bytes, to: "\(aside)/cases.bin")
    try Files.write(try Files.read(program), to: "\(aside)/measure-candidate")
    try Files.makeExecutable("\(aside)/measure-candidate")
    try Files.write(try RunnerProgram.measure.source.text, to: "\(aside)/measure-candidate.c")
    try Files.write(
      bundle.candidates.map { $0.kernel + "\n" }.joined(), to: "\(aside)/candidates.txt")
    try Files.write(try bundle.script, to: "\(aside)/measure")
    try Files.makeExecutable("\(aside)/measure")
    try Files.write(
      try Emitter.json(bundle, pretty: true) + "\n", to: "\(aside)/\(manifestFile)")
    try Files.rename(aside, to: folder)
    return (bundle, notices)
  }

  /// The script `measure`.
  private var script: String {
    get throws(SluiceError) {
      guard var text = Templates.text("measure.sh") else {
        throw SluiceError(.internal, "The script measure.sh is not part of this build.")
      }
      let values = [
        "format": Self.resultsFormat, "search": search, "rounds": "\(rounds)",
        "milliseconds": "\(milliseconds)", "limit": "\(limit)", "timed": "\(timed)",
      ]
      for (name, value) in values { text = text.replacing("{{\(name)}}", with: value) }
      return text
    }
  }

  /// Opens a bundle's folder: its manifest must be whole, of this version, and as it was written.
  public static func open(_ folder: String) throws(SluiceError) -> TuningBundle {
    let path = "\(folder)/\(manifestFile)"
    guard Files.isRegular(path) else {
      throw SluiceError(
        .badInput,
        "\(folder) is no bundle: it has no \(manifestFile). 'sluice tune --bundle' writes one.")
    }
    return try RecordStore.inSentences(path) {
      let bundle: TuningBundle
      do {
        bundle = try JSONDecoder().decode(TuningBundle.self, from: Data(try Files.read(path)))
      } catch let error as DecodingError {
        throw SluiceError(.badInput, "\(path) is damaged: \(describeDecoding(error))")
      }
      guard bundle.format == currentFormat, bundle.key.isOfThisVersion else {
        throw SluiceError(
          .badInput,
          "\(folder) was made by another version of Sluice: its kernels are others. Make it anew.")
      }
      guard try bundle.sealed() == bundle else {
        throw SluiceError(.badInput, "\(path) was altered after it was written. Make it anew.")
      }
      return bundle
    }
  }
}
