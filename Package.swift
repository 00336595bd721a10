// swift-tools-version: 6.2
// The target graph is the pipeline, in its order; imports go one way only.
//
//   Recurrence -> NormalForm -> Plan -> TileProgram -> SourceFile -> Library -> Kernel -> Assessment
//     -> TuningRecord
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
]

let package = Package(
  name: "Sluice",
  products: [
    .library(name: "Sluice", targets: ["Sluice"]),
    .executable(name: "sluice", targets: ["SluiceExecutable"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    // What: a recurrence as mathematics, its analysis, the shipped variants.
    .target(name: "Recurrences", swiftSettings: settings),
    // The independent truth: the recurrence as written, token by token, in Double.
    .target(name: "Reference", dependencies: ["Recurrences"], swiftSettings: settings),
    // Facts of a machine.
    .target(name: "Targets", swiftSettings: settings),
    // Tile programs: operations, verifier, interpreter, printer, estimates.
    .target(name: "TileIR", dependencies: ["Recurrences"], swiftSettings: settings),
    // How: one file a strategy, from a normal form and a plan to a tile program.
    .target(
      name: "Schedules", dependencies: ["Recurrences", "TileIR", "Targets"],
      swiftSettings: settings),
    // Which: chooses the plan for a problem and a target.
    .target(
      name: "Planning", dependencies: ["Schedules", "TileIR", "Targets"], swiftSettings: settings),
    // What was measured, as a page with pictures.
    .target(name: "Reporting", dependencies: ["Planning"], swiftSettings: settings),
    // Text without decisions: vocabulary headers, runner, Python module.
    .target(
      name: "Templates", path: "templates", exclude: ["c", "cuda", "python"],
      sources: ["Templates.swift"], swiftSettings: settings, plugins: ["EmbedTexts"]),
    // Compiles those texts into the program.
    .plugin(name: "EmbedTexts", capability: .buildTool(), dependencies: ["TextEmbedder"]),
    .executableTarget(
      name: "TextEmbedder", path: "Plugins/TextEmbedder", swiftSettings: settings),
    // From a tile program to C source.
    .target(
      name: "Emission", dependencies: ["TileIR", "Targets", "Schedules", "Planning", "Templates"],
      swiftSettings: settings),
    // LLVM's C API: the authority on the host, and the reader of compiled objects.
    .systemLibrary(name: "CLLVM", providers: [.apt(["llvm-22-dev"])]),
    // From source to a loaded library: clang, cache, loader, object reader, packages.
    .target(
      name: "Execution",
      dependencies: [
        "CLLVM", "Emission", "Templates",
        .product(name: "Subprocess", package: "swift-subprocess"),
        .product(name: "Crypto", package: "swift-crypto"),
      ],
      swiftSettings: settings),
    // Is it right, is it fast: verify, bench, planted faults.
    .target(
      name: "Evaluation", dependencies: ["Execution", "Reference"], swiftSettings: settings),
    // What is measured, kept and used again: the search, its records, its bundles.
    .target(
      name: "Tuning",
      dependencies: ["Evaluation", .product(name: "GRDB", package: "GRDB.swift")],
      swiftSettings: settings),
    // The command's verbs, without logic of their own.
    .target(
      name: "Command",
      dependencies: [
        "Tuning", "Reporting",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: settings),
    // What a user's own package imports.
    .target(name: "Sluice", dependencies: ["Command"], swiftSettings: settings),
    .executableTarget(name: "SluiceExecutable", dependencies: ["Sluice"], swiftSettings: settings),
    // What several tests share: seeded random numbers, drawn arguments, the plainest evaluation.
    .target(
      name: "TestSupport", dependencies: ["Reference"], path: "Tests/TestSupport",
      swiftSettings: settings),
    .testTarget(name: "RecurrencesTests", dependencies: ["TestSupport"], swiftSettings: settings),
    .testTarget(name: "ReferenceTests", dependencies: ["TestSupport"], swiftSettings: settings),
    // The model and the search of plans: needs nothing.
    .testTarget(name: "PlanningTests", dependencies: ["Planning"], swiftSettings: settings),
    // The page is well-formed, whatever the names; needs nothing.
    .testTarget(name: "ReportingTests", dependencies: ["Reporting"], swiftSettings: settings),
    // Needs a compiler.
    .testTarget(
      name: "ExecutionTests", dependencies: ["Execution", "Emission", "Targets"],
      swiftSettings: settings),
    // Needs a compiler and this CPU; a few need Python with NumPy.
    .testTarget(
      name: "PackageTests", dependencies: ["Execution", "TestSupport"], swiftSettings: settings),
    // The shelf of generated kernels: the same bytes again, and they compile.
    .testTarget(name: "GoldenTests", dependencies: ["Execution"], swiftSettings: settings),
    // Derivations need nothing; the verifier needs a compiler, and this CPU.
    .testTarget(
      name: "EvaluationTests", dependencies: ["Evaluation"],
      swiftSettings: settings),
    // Records need nothing; the search needs a compiler, and this CPU.
    .testTarget(
      name: "TuningTests",
      dependencies: ["Sluice", "SluiceExecutable", .product(name: "GRDB", package: "GRDB.swift")],
      swiftSettings: settings),
    // Runs the built command: needs a compiler, and this CPU.
    .testTarget(
      name: "CommandTests", dependencies: ["Sluice", "SluiceExecutable", "TestSupport"],
      swiftSettings: settings),
    // Needs clang, and qemu for the targets that this CPU is not.
    .testTarget(
      name: "VocabularyTests",
      dependencies: [.product(name: "Subprocess", package: "swift-subprocess")],
      exclude: ["vocabulary_test.c", "walk_test.c", "double_test.c", "matrix_test.c"],
      swiftSettings: settings),
  ]
)
