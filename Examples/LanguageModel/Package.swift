// swift-tools-version: 6.2
// The layers of the language models as recurrences, and the command that builds their kernels.
import PackageDescription

let package = Package(
  name: "LanguageModel",
  dependencies: [
    .package(name: "Sluice", path: "../..")
  ],
  targets: [
    .executableTarget(
      name: "layers", dependencies: [.product(name: "Sluice", package: "Sluice")],
      path: "Sources/Layers",
      swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)])
  ]
)
