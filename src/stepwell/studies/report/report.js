(() => {
  const page = document.documentElement;
  const button = document.getElementById("language");
  const speak = (language) => {
    page.dataset.language = language;
    page.lang = language === "zh" ? "zh-Hans" : "en";
  };
  button.hidden = false;
  button.addEventListener("click", () => speak(page.dataset.language === "zh" ? "en" : "zh"));
  if (location.hash === "#zh") speak("zh");

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
})();
